"""One recorded episode, the raw files it comes from, and a record that could not be read.

Frames are streamed in chunks, so that memory is bounded by a chunk however long a recording is.
T frames of an episode, n frames of a chunk, H W pixels, A action dimension, S state dimension.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8

from moso.errors import DataError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Source:
    """What a reader reads as one piece: a file, or files that belong together.

    Attributes:
        name: relative to the raw data's root, with "/" between parts; the manifest's `source`.
        files: every file, relative to the root, on whose content its episodes depend; while none of them changes, it
            is not read again. `name` alone by default.
    """

    name: str
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.files:
            object.__setattr__(self, "files", (self.name,))


@dataclass(frozen=True)
class Episode:
    """One recording's frames, as a stream, with what was recorded beside them.

    Attributes:
        episode_id: unique in the data set.
        source: name of the Source that it comes from.
        fps: frames a second.
        stream: a new iterator over the frames at each call: chunks uint8 [0, 255] RGB (n, H, W, 3) with n >= 1 small.
            It raises DataError where the recording turns out to be bad. Use `chunks`, which also checks them.
        recording: what must never lie in two splits: episodes cut from one recording, or its cameras, share it. Its
            split follows from it. The episode's own id by default.
        split: where the data itself says it (split rule "recorded").
        actions: float32 (T, A), row t belongs to frame t; None where none were recorded. The spec says what they mean.
        states: float32 (T, S), likewise.
        frames: T, where the data fixes it; another number of frames in the stream is an error.
        offset: byte or row of the source at which the episode starts, for the quarantine table.

    Raises:
        DataError: an id that cannot be one, or an array of another type or shape, or a number that is not finite.
    """

    episode_id: str
    source: str
    fps: float
    stream: Callable[[], Iterator[np.ndarray]]
    recording: str = ""
    split: str | None = None
    # Plain arrays: what is read from a file is of this type and shape only once it was looked at.
    actions: np.ndarray | None = None
    states: np.ndarray | None = None
    frames: int | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        if not self.recording:
            object.__setattr__(self, "recording", self.episode_id)
        if not self.episode_id or "@" in self.episode_id or not self.episode_id.isprintable():
            raise DataError(f"{self.episode_id!r} cannot be an episode's id: it must be printable, without '@'")
        if self.split is not None and self.split not in SPLITS:
            raise DataError(f"{self.episode_id}: split {self.split!r} is none of {', '.join(SPLITS)}")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise DataError(f"{self.fps} frames a second")
        for name, values in (("actions", self.actions), ("states", self.states)):
            if values is None:
                continue
            if values.dtype != np.float32:
                raise DataError(f"{name} are {values.dtype}, expected float32")
            if values.ndim != 2:
                raise DataError(f"{name} have shape {values.shape}, expected (T, dimension)")
            if not np.isfinite(values).all():
                raise DataError(f"{name} hold numbers that are not finite")

    @classmethod
    def of(
        cls,
        episode_id: str,
        source: str,
        frames: np.ndarray,
        fps: float,
        actions: np.ndarray | None = None,
        states: np.ndarray | None = None,
        *,
        recording: str = "",
        split: str | None = None,
        offset: int = 0,
    ) -> Episode:
        """An episode whose frames, uint8 (T, H, W, 3), are in memory.

        Raises:
            DataError: as for the class; the frames are looked at by `chunks`.
        """
        return cls(episode_id, source, fps, lambda: iter([frames]), recording, split, actions, states, None, offset)

    def chunks(self) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
        """The frames, from the first one, each chunk checked.

        Raises:
            DataError: a chunk of another type, shape or size than the first, no frame at all, or another number of
                frames than actions, states or `frames` say.
        """
        size, count = None, 0
        for chunk in self.stream():
            if chunk.dtype != np.uint8:
                raise DataError(f"frames are {chunk.dtype}, expected uint8")
            if chunk.ndim != 4 or chunk.shape[-1] != 3 or 0 in chunk.shape:
                raise DataError(f"frames have shape {chunk.shape}, expected (T, H, W, 3)")
            if size is None:
                size = chunk.shape[1:3]
            elif chunk.shape[1:3] != size:
                raise DataError(
                    f"frame {count} has {chunk.shape[1]} x {chunk.shape[2]} pixels, those before {size[0]} x {size[1]}"
                )
            count += len(chunk)
            yield chunk
        if not count:
            raise DataError("holds no frame")
        for name, expected in (
            ("actions", None if self.actions is None else len(self.actions)),
            ("states", None if self.states is None else len(self.states)),
        ):
            if expected is not None and expected != count:
                raise DataError(f"{name} have {expected} rows, there are {count} frames")
        if self.frames is not None and self.frames != count:
            raise DataError(f"{count} frames, expected {self.frames}")

    def load(self) -> UInt8[np.ndarray, "T H W 3"]:
        """All frames at once.

        Raises:
            DataError: as for `chunks`.
        """
        chunks = list(self.chunks())
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


@dataclass(frozen=True)
class Rejected:
    """A record that is not what its format says: it goes to the quarantine table instead of the manifest.

    Attributes:
        file: path relative to the raw data's root.
        offset: byte (or row of a table) at which the bad record starts; 0 where a file is one record.
        reason: what is wrong, in words.
        source: name of the Source that it comes from; ingest fills it in.
    """

    file: str
    offset: int
    reason: str
    source: str = ""


def signals_sha256(actions: np.ndarray | None, states: np.ndarray | None) -> str:
    """Hexadecimal sha256 of what was recorded beside the frames, shapes included; "" where nothing was."""
    if actions is None and states is None:
        return ""
    hashed = hashlib.sha256()
    for values in (actions, states):
        hashed.update(b"none" if values is None else f"{values.shape}".encode())
        hashed.update(b"" if values is None else np.ascontiguousarray(values).data)
    return hashed.hexdigest()
