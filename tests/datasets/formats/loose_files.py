"""Videos and pictures as data sets' own tools leave them, written with PyAV and Pillow: nothing of moso is used."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def moving(frames: int, height: int = 16, width: int = 24, seed: int = 0) -> np.ndarray:
    """Grey frames (T, H, W), each unlike the others: a smooth picture that brightens, and a square that moves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = 40 + rng.integers(0, 40) + rng.integers(0, 4, (height, width)) + 2 * y + x
    pictures = np.stack([base + 5 * t for t in range(frames)])
    for t in range(frames):
        left = t % (width - 6)
        pictures[t, 4:10, left : left + 6] = 200 - 4 * t
    return pictures.clip(0, 255).astype(np.uint8)


def coloured(frames: int, height: int = 16, width: int = 24, seed: int = 0) -> np.ndarray:
    """RGB frames (T, H, W, 3) with three unlike channels."""
    grey = moving(frames, height, width, seed)
    return np.stack([grey, 255 - grey, grey // 2 + 30], axis=-1)


def video(
    path: Path, frames: np.ndarray, fps: float = 25, codec: str = "ffv1", pixels: str = "", **options: str
) -> Path:
    """One video; frames (T, H, W) grey or (T, H, W, 3) RGB. ffv1 and huffyuv lose nothing."""
    given = "gray" if frames.ndim == 3 else "rgb24"
    pixels = pixels or {"ffv1": "gray" if frames.ndim == 3 else "bgr0", "huffyuv": "rgb24"}.get(codec, "yuv420p")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=given)))
        container.mux(stream.encode())
    return path


def png(path: Path, frame: np.ndarray) -> Path:
    """One picture, in the format that its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path)
    return path


def empty_chunk(data: bytes, number: int) -> bytes:
    """An AVI in which frame `number` is a chunk without bytes: "as the one before"."""
    start = data.index(b"movi")
    place, chunks = start + 4, []
    while data[place : place + 4] in (b"00dc", b"00db"):
        length = struct.unpack("<I", data[place + 4 : place + 8])[0]
        chunks.append((data[place : place + 4], data[place + 8 : place + 8 + length]))
        place += 8 + length + length % 2
    chunks[number] = (chunks[number][0], b"")
    movie, index = b"movi", b""
    for kind, chunk in chunks:
        index += kind + struct.pack("<III", 16, len(movie), len(chunk))
        movie += kind + struct.pack("<I", len(chunk)) + chunk + b"\0" * (len(chunk) % 2)
    body = b"AVI " + data[12 : start - 8]
    body += b"LIST" + struct.pack("<I", len(movie)) + movie + b"idx1" + struct.pack("<I", len(index)) + index
    return b"RIFF" + struct.pack("<I", len(body)) + body
