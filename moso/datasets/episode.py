"""One recorded episode, and one record that could not be read.

T frames, H W pixels, A action dimension, S state dimension.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from moso.errors import DataError


@dataclass(frozen=True)
class Episode:
    """Frames of one recording with what was recorded beside them.

    Attributes:
        episode_id: unique in the data set; its split is a function of it.
        source: file that it was read from, relative to the raw data's root, with "/" between parts.
        frames: uint8 [0, 255], RGB, (T, H, W, 3).
        fps: frames a second.
        actions: float32 (T, A), row t belongs to frame t; None where none were recorded. The spec says what they mean.
        states: float32 (T, S), likewise.

    Raises:
        DataError: an array of another type or shape, or a number that is not finite.
    """

    episode_id: str
    source: str
    # Plain arrays: what is read from a file is of this type and shape only once __post_init__ has looked.
    frames: np.ndarray
    fps: float
    actions: np.ndarray | None = None
    states: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8:
            raise DataError(f"frames are {self.frames.dtype}, expected uint8")
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or 0 in self.frames.shape:
            raise DataError(f"frames have shape {self.frames.shape}, expected (T, H, W, 3)")
        for name, values in (("actions", self.actions), ("states", self.states)):
            if values is None:
                continue
            if values.dtype != np.float32:
                raise DataError(f"{name} are {values.dtype}, expected float32")
            if values.ndim != 2 or len(values) != len(self.frames):
                raise DataError(f"{name} have shape {values.shape}, expected ({len(self.frames)}, dimension)")
            if not np.isfinite(values).all():
                raise DataError(f"{name} hold numbers that are not finite")


@dataclass(frozen=True)
class Rejected:
    """A record that is not what its format says: it goes to the quarantine table instead of the manifest.

    Attributes:
        file: path relative to the raw data's root.
        offset: byte at which the bad record starts; 0 where a file is one record.
        reason: what is wrong, in words.
    """

    file: str
    offset: int
    reason: str


def frames_sha256(frames: UInt8[np.ndarray, "T H W 3"]) -> str:
    """Hexadecimal sha256 of the frames' bytes in C order: the manifest's `sha256`."""
    return hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()
