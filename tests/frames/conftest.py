"""A small cache of episodes of unequal length, over several shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from moso.frames.cache import FrameCache, FrameCacheWriter

HEIGHT, WIDTH = 4, 6
FRAME_BYTES = HEIGHT * WIDTH * 3


@dataclass(frozen=True)
class Video:
    episode_id: str
    split: str
    frames: np.ndarray
    actions: np.ndarray
    states: np.ndarray


def make_video(number: int, length: int, split: str = "train") -> Video:
    rng = np.random.default_rng(number)
    return Video(
        f"e_{number}",
        split,
        rng.integers(0, 256, (length, HEIGHT, WIDTH, 3), dtype=np.uint8),
        rng.normal(size=(length, 2)).astype(np.float32),
        rng.normal(size=(length, 1)).astype(np.float32),
    )


def write_videos(folder: Path, videos: Sequence[Video], shard_frames: int = 10) -> None:
    with FrameCacheWriter(
        folder, height=HEIGHT, width=WIDTH, fps=10.0, actions=2, states=1, shard_bytes=shard_frames * FRAME_BYTES
    ) as writer:
        for video in videos:
            if video.episode_id not in writer.written:
                writer.add(video.episode_id, video.split, video.frames, video.actions, video.states)


@pytest.fixture
def write() -> Callable[..., None]:
    """write(folder, videos, shard_frames=10): write or extend a cache."""
    return write_videos


@pytest.fixture
def make() -> Callable[..., Video]:
    """make(number, length, split="train") -> a video of noise."""
    return make_video


@pytest.fixture
def videos() -> list[Video]:
    lengths = [(5, "train"), (4, "train"), (3, "test"), (7, "train"), (1, "test"), (12, "validation"), (2, "train")]
    return [make_video(i, length, split) for i, (length, split) in enumerate(lengths)]


@pytest.fixture
def cache(tmp_path: Path, videos: list[Video]) -> FrameCache:
    write_videos(tmp_path / "cache", videos)
    return FrameCache.open(tmp_path / "cache")
