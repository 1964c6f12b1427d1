"""Figures of a cache, split by split: how much there is, how bright it is, how much moves, how actions spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from moso.frames.cache import FrameCache

LEVELS = np.arange(256)
BLOCK_BYTES = 4 * 10**6


def statistics(cache: FrameCache) -> dict[str, dict[str, Any]]:
    """split -> figures, as plain data.

    episodes and frames are counts; brightness (mean and standard deviation over pixels and channels) and
    mean_difference (between neighbouring frames of an episode) are in grey levels [0, 255]; actions and states have
    mean, std, min and max, each a list over dimensions in the data's own units.
    """
    groups = cache.episodes.groupby("split")["episode_id"]
    return {str(split): _split_statistics(cache, list(episodes)) for split, episodes in groups}


def _split_statistics(cache: FrameCache, episodes: list[str]) -> dict[str, Any]:
    histogram = np.zeros(256, dtype=np.int64)
    difference, pairs, frames = 0, 0, 0
    shard = None
    for episode_id in episodes:
        if shard != (shard := cache.place(episode_id).shard):
            cache.forget()  # resident memory is a shard's, whatever the data set's size
        video = cache.frames(episode_id)
        frames += len(video)
        # Frame by frame where frames are large: bincount widens its input eightfold.
        block = max(1, BLOCK_BYTES // video[0].size)
        for first in range(0, len(video), block):
            histogram += np.bincount(video[first : first + block].ravel(), minlength=256)
            start, end = max(first, 1), min(first + block, len(video))
            here, before = video[start:end], video[start - 1 : end - 1]
            # max - min is the absolute difference without leaving uint8.
            step = np.maximum(here, before) - np.minimum(here, before)
            difference += int(step.sum(dtype=np.int64))
            pairs += step.size
    mean = float(histogram @ LEVELS / histogram.sum())
    figures: dict[str, Any] = {
        "episodes": len(episodes),
        "frames": frames,
        "brightness": {"mean": mean, "std": float(np.sqrt(histogram @ (LEVELS - mean) ** 2 / histogram.sum()))},
        "mean_difference": difference / pairs if pairs else 0.0,
    }
    for name in ("actions", "states"):
        if cache.index[name]:
            figures[name] = _signal_statistics(cache, name, episodes)
    return figures


def _signal_statistics(cache: FrameCache, name: str, episodes: list[str]) -> dict[str, list[float]]:
    dimension = cache.index[name]
    total, squares, count = np.zeros(dimension), np.zeros(dimension), 0
    low, high = np.full(dimension, np.inf), np.full(dimension, -np.inf)
    for episode_id in episodes:
        values = (cache.actions if name == "actions" else cache.states)(episode_id)
        assert values is not None
        exact = values.astype(np.float64)
        total, squares, count = total + exact.sum(axis=0), squares + (exact**2).sum(axis=0), count + len(exact)
        low, high = np.minimum(low, exact.min(axis=0)), np.maximum(high, exact.max(axis=0))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return {k: v.tolist() for k, v in (("mean", mean), ("std", std), ("min", low), ("max", high))}
