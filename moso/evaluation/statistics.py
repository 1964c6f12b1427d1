"""The paired bootstrap over episodes: how sure a difference between two methods is.

Clips of one episode share its objects, lights and stroke, so they are no independent samples: whole episodes are drawn,
each with all of its clips. The difference is taken clip by clip (paired), which removes how hard a clip is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean difference and its bootstrap interval (percentile method).

    Attributes:
        mean: mean over clips of the paired difference, in the metric's unit.
        low: lower end of the interval.
        high: upper end of it.
        confidence: the interval's level, for example 0.95.
        clips: number of clips.
        episodes: number of episodes, the units that are resampled.
    """

    mean: float
    low: float
    high: float
    confidence: float
    clips: int
    episodes: int


def paired_bootstrap(
    method: NDArray[np.float64],
    baseline: NDArray[np.float64],
    episodes: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Mean of `method - baseline` over clips, with its interval when episodes are drawn with replacement.

    Args:
        method: one value a clip.
        baseline: one value a clip, in the same order.
        episodes: the episode of each clip.
        seed: of the resampling; the same seed gives the same interval, in whatever order the clips come.
        resamples: number of draws.
        confidence: level of the interval, in (0, 1).

    Raises:
        ValueError: arrays of unequal length, none at all, or a value that is no number.
    """
    difference = np.asarray(method, np.float64) - np.asarray(baseline, np.float64)
    if difference.ndim != 1 or len(difference) != len(episodes) or len(difference) == 0:
        raise ValueError(
            f"one value a clip is needed, got {np.shape(method)}, {np.shape(baseline)} and {len(episodes)} episodes"
        )
    if not np.isfinite(difference).all():
        raise ValueError("a difference is not finite: an interval over it would say nothing")
    names, episode_of_clip = np.unique(np.asarray(episodes, dtype=str), return_inverse=True)
    sums = np.bincount(episode_of_clip, weights=difference, minlength=len(names))
    counts = np.bincount(episode_of_clip, minlength=len(names))
    random = np.random.default_rng(seed)
    # How often each episode is drawn in each resample: (resamples, episodes).
    drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    means = (drawn @ sums) / (drawn @ counts)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(difference.mean()), float(low), float(high), confidence, len(difference), len(names))
