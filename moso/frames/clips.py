"""Clips: windows of frames inside one episode, and batches of them.

B batch, T frames of a clip, C channels, H W pixels.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from torch import Tensor

from moso.errors import ConfigError, DataError
from moso.frames.cache import FrameCache


@dataclass(frozen=True, order=True)
class Clip:
    """The window of an episode that starts at frame `first_frame`; its length is the same for all clips of a set."""

    episode_id: str
    first_frame: int

    @property
    def id(self) -> str:
        """'seed_000123@00004': episode and first frame."""
        return f"{self.episode_id}@{self.first_frame:05d}"

    @classmethod
    def parse(cls, id: str) -> Clip:
        """The clip of an id; inverse of `id`.

        Raises:
            DataError: the text is no clip id.
        """
        episode_id, at, first = id.rpartition("@")
        if not at or not episode_id or not (first.isascii() and first.isdigit()):
            raise DataError(f"{id!r} is no clip id; one looks like 'seed_000123@00004'")
        return cls(episode_id, int(first))


def windows(cache: FrameCache, split: str, clip_frames: int, stride: int = 1) -> list[Clip]:
    """Every clip of `clip_frames` frames in the episodes of a split, starting at every `stride`-th frame.

    With stride = clip_frames they do not overlap. Episodes shorter than a clip have none; order is the cache's.

    Raises:
        ConfigError: a length or stride below 1, or a split that the cache does not hold.
    """
    for name, value in (("clip_frames", clip_frames), ("stride", stride)):
        if value < 1:
            raise ConfigError(name, value, "must be at least 1")
    table = cache.episodes
    if split not in set(table["split"]):
        known = ", ".join(sorted(set(table["split"])))
        raise ConfigError("split", split, "the cache holds no such split", f"it has: {known}")
    rows = table[table["split"] == split]
    return [
        Clip(str(episode_id), first)
        for episode_id, frames in zip(rows["episode_id"], rows["frames"], strict=True)
        for first in range(0, int(frames) - clip_frames + 1, stride)
    ]


class Buffers:
    """Memory for batches, lent again once nobody holds the batch that it was lent for.

    Fresh memory costs several times the copy into it: the kernel hands it out page by page, zeroed, at the first write.
    May be used from any thread.
    """

    KEPT = 4  # what a training holds at once: prefetched, in use, being filled; more would only occupy memory

    def __init__(self) -> None:
        self._free: deque[np.ndarray] = deque(maxlen=self.KEPT)

    def lend(self, shape: Sequence[int]) -> Shaped[Tensor, "..."]:
        """A uint8 tensor of that shape, its content undefined."""
        size = math.prod(shape)
        memory = None
        try:
            while memory is None or memory.size != size:  # another size is of a set's last batch, or of a change
                memory = self._free.pop()
        except IndexError:
            memory = np.empty(size, dtype=np.uint8)
        # The tensor's storage holds `lent`, whoever holds the storage: views of it and arrays made of it too.
        lent = memory.reshape(shape)
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return torch.from_numpy(lent)


class Clips:
    """A set of clips of one length, read from a cache in batches."""

    def __init__(self, cache: FrameCache, clips: Sequence[Clip], clip_frames: int) -> None:
        """
        Args:
            cache: where the frames lie.
            clips: the set; its order gives the indices of `batch`.
            clip_frames: T.

        Raises:
            DataError: a clip that does not lie inside its episode.
        """
        self.cache, self.clips, self.clip_frames = cache, list(clips), clip_frames
        self._buffers = Buffers()
        self._shard = np.empty(len(self.clips), dtype=np.int64)
        self._first = np.empty(len(self.clips), dtype=np.int64)
        for i, clip in enumerate(self.clips):
            place = cache.place(clip.episode_id)
            if not 0 <= clip.first_frame <= place.frames - clip_frames:
                raise DataError(f"{clip.id}: {clip_frames} frames do not fit into an episode of {place.frames}")
            self._shard[i], self._first[i] = place.shard, place.first_frame + clip.first_frame

    def __len__(self) -> int:
        return len(self.clips)

    def batch(self, indices: Sequence[int] | np.ndarray) -> UInt8[Tensor, "B T H W 3"]:
        """The clips at `indices`, copied out of the memory map: uint8 [0, 255]. May be called from any thread.

        The memory of a batch that nobody holds any more is used again (`Buffers`).

        Raises:
            IndexError: an index outside the set.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        shards, firsts = self._shard[wanted].tolist(), self._first[wanted].tolist()
        batch = self._buffers.lend((len(wanted), self.clip_frames, self.cache.height, self.cache.width, 3))
        out = batch.numpy()
        # A clip is one block on both sides, so a slice is one memcpy; an index array a frame measured the same.
        for i, (shard, first) in enumerate(zip(shards, firsts, strict=True)):
            out[i] = self.cache.shard(shard)[first : first + self.clip_frames]
        return batch


def to_float(frames: Shaped[Tensor, "B T H W C"]) -> Float32[Tensor, "B T C H W"]:
    """uint8 [0, 255], channels last -> float32 [0, 1], channels first; inverse of `to_uint8`.

    Raises:
        DataError: the frames are not uint8 (a float video would silently be scaled twice).
    """
    if frames.dtype != torch.uint8:
        raise DataError(f"frames are {frames.dtype}, expected torch.uint8 in [0, 255]")
    return frames.movedim(-1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def to_uint8(frames: Float[Tensor, "B T C H W"]) -> UInt8[Tensor, "B T H W C"]:
    """float [0, 1], channels first -> uint8 [0, 255], channels last, rounded and clamped; inverse of `to_float`."""
    levels = frames.movedim(2, -1).float().mul(255).round_().clamp_(0, 255)
    return levels.to(torch.uint8, memory_format=torch.contiguous_format)


def mean_image(cache: FrameCache, split: str) -> Float32[np.ndarray, "H W 3"]:
    """The mean of all frames of a split, exact up to rounding to float32, in [0, 255].

    Raises:
        ConfigError: a split that the cache does not hold.
    """
    rows = cache.episodes[cache.episodes["split"] == split]
    if rows.empty:
        raise ConfigError("split", split, "the cache holds no such split")
    total = np.zeros((cache.height, cache.width, 3), dtype=np.uint64)
    for episode_id in rows["episode_id"]:
        total += cache.frames(episode_id).sum(axis=0, dtype=np.uint32)
    mean: Float32[np.ndarray, "H W 3"] = (total / rows["frames"].sum()).astype(np.float32)
    return mean
