"""The paired bootstrap over episodes: how sure a difference between two methods is.

Clips of one episode share its objects, lights and stroke, so they are no independent samples: whole episodes are drawn,
each with all of its clips. The difference is taken clip by clip (paired), which removes how hard a clip is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95
POWER = 0.8
DRAWN = 1 << 22
"""Numbers drawn at once, at most: 32 MiB, whatever the number of episodes."""


MANY_EPISODES = 30


def caution(episodes: int) -> str:
    """What to say beside an interval of few episodes; "" of many.

    The percentile interval knows no Student's t: over 4 episodes a 95% interval held the truth in 80 of 100 simulated
    draws of normal differences, over 16 in 92.
    """
    if episodes >= MANY_EPISODES:
        return ""
    return f"{episodes} episodes are few: intervals are narrower than they should be"


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
        standard_error: of the mean, in the metric's unit: the spread of the resampled means.
    """

    mean: float
    low: float
    high: float
    confidence: float
    clips: int
    episodes: int
    standard_error: float

    def detectable(self, power: float = POWER) -> float:
        """The smallest true difference that these clips would show, in the metric's unit.

        With a true difference of this size the interval lies wholly above zero (or, with the other sign, below) in a
        share `power` of all test sets drawn like this one. From the normal approximation of the mean's distribution,
        (z of the confidence + z of the power) standard errors; it says what the test set can tell, not what was found.

        Raises:
            ValueError: a power outside (0.5, 1).
        """
        if not 0.5 < power < 1:
            raise ValueError(f"a power lies in (0.5, 1), got {power}")
        normal = NormalDist()
        return (normal.inv_cdf(0.5 + self.confidence / 2) + normal.inv_cdf(power)) * self.standard_error


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
    means = _resampled_means(difference[:, None], episodes, seed, resamples)[:, 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(
        mean=float(difference.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        clips=len(difference),
        episodes=len(set(episodes)),
        standard_error=float(means.std()),
    )


def bootstrap_band(
    values: NDArray[np.float64],
    episodes: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end, (P,) each, of the bootstrap intervals of the mean over clips at each predicted frame.

    Pointwise: each frame's interval has the level, not the curve as a whole. One resampling serves all frames.

    Args:
        values: (N, P), a row a clip.
        episodes: the episode of each clip.
        seed: of the resampling.
        resamples: number of draws.
        confidence: level of the intervals, in (0, 1).

    Raises:
        ValueError: no clip, unequal lengths, or a value that is no number.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) != len(episodes) or len(values) == 0:
        raise ValueError(f"a row a clip is needed, got {values.shape} and {len(episodes)} episodes")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite: a band around it would say nothing")
    means = _resampled_means(values, episodes, seed, resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def _resampled_means(
    values: NDArray[np.float64], episodes: Sequence[str], seed: int, resamples: int
) -> NDArray[np.float64]:
    """Means over clips, (resamples, M), of (N, M) values, whole episodes drawn with replacement."""
    names, episode_of_clip = np.unique(np.asarray(episodes, dtype=str), return_inverse=True)
    sums = np.stack([np.bincount(episode_of_clip, weights=column, minlength=len(names)) for column in values.T], axis=1)
    counts = np.bincount(episode_of_clip, minlength=len(names))
    random = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    rows = max(1, DRAWN // len(names))
    for first in range(0, resamples, rows):
        part = slice(first, min(first + rows, resamples))
        # How often each episode is drawn in each resample: (resamples, episodes).
        drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=part.stop - first)
        means[part] = (drawn @ sums) / (drawn @ counts)[:, None]
    return means
