"""softmotion30_44k files, byte by byte: TFRecord framing and protobuf by hand; nothing of moso or TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

VIEWS = ("image_main", "image_aux1")


@dataclass(frozen=True)
class Trajectory:
    """What was written of one record: frames of each view uint8 (T, H, W, 3), actions (T, 4), positions (T, 3)."""

    views: dict[str, np.ndarray]
    actions: np.ndarray
    positions: np.ndarray

    @property
    def keys(self) -> dict[str, bytes]:
        """key -> coded tf.train.Feature."""
        keys: dict[str, bytes] = {}
        for i in range(len(self.actions)):
            for view, frames in self.views.items():
                keys[f"{i}/{view}/encoded"] = bytes_feature(frames[i].tobytes())
            keys[f"{i}/action"] = float_feature(self.actions[i])
            keys[f"{i}/endeffector_pos"] = float_feature(self.positions[i])
        return keys


def trajectory(
    seed: int, frames: int = 30, height: int = 64, width: int = 64, views: Sequence[str] = VIEWS
) -> Trajectory:
    """Random numbers of the official shapes."""
    rng = np.random.default_rng(seed)
    return Trajectory(
        {view: rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8) for view in views},
        rng.normal(size=(frames, 4)).astype(np.float32),
        rng.normal(size=(frames, 3)).astype(np.float32),
    )


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def block(field: int, content: bytes) -> bytes:
    """A field of wire type 2: bytes, text, a message or packed numbers."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def bytes_feature(value: bytes) -> bytes:
    return block(1, block(1, value))


def float_feature(values: Sequence[float] | np.ndarray) -> bytes:
    return block(2, block(1, struct.pack(f"<{len(values)}f", *values)))


def example(keys: dict[str, bytes]) -> bytes:
    """tf.train.Example: field 1 is Features, whose field 1 is a map of key (1) to Feature (2)."""
    return block(1, b"".join(block(1, block(1, key.encode()) + block(2, value)) for key, value in keys.items()))


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17 & 0xFFFFFFFF)) + 0xA282EAD8) % 2**32)


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def write(path: Path, trajectories: Sequence[Trajectory | bytes]) -> list[int]:
    """One file of records, each a trajectory or the coded Example itself; the bytes at which they start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    starts, content = [], b""
    for item in trajectories:
        starts.append(len(content))
        content += record(item if isinstance(item, bytes) else example(item.keys))
    path.write_bytes(content)
    return starts


def flip(path: Path, offset: int) -> None:
    """Damage one byte."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)
