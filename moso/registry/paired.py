"""Candidate and champion clip by clip: what `decide` gets beside their figures.

Both were measured on the same clips (their protocols' digests are equal), so the difference is taken clip by clip: how
hard a clip is falls out of it. Whole episodes are drawn for the interval (moso/evaluation/statistics.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moso.evaluation.per_clip import metric_columns, video_means
from moso.evaluation.statistics import Interval, paired_bootstrap
from moso.registry.policy import PromotionPolicy

if TYPE_CHECKING:
    import pandas as pd

NAMED = 3  # clips named in one reason
CLIP = ["clip_id", "episode_id"]


@dataclass(frozen=True)
class Paired:
    """The comparison over the same clips, or why there is none.

    Attributes:
        intervals: dotted name, as in metrics.json -> candidate minus champion, in the metric's unit.
        without: dotted name -> why it has no interval.
        absent: why there is none at all although nothing is wrong (a champion of before tables were filed), or "".
        faults: why the two tables cannot be held against each other: `decide` then refuses.
    """

    intervals: Mapping[str, Interval] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)
    absent: str = ""
    faults: tuple[str, ...] = ()

    def record(self) -> dict[str, dict[str, float | int]]:
        """Plain data for promotion.json: dotted name -> mean, low, high, confidence, detectable, clips, episodes.

        `detectable` is the smallest difference that these clips show at 80 % power.
        """
        return {
            name: {
                **{key: value for key, value in dataclasses.asdict(interval).items() if key != "standard_error"},
                "detectable": interval.detectable(),
            }
            for name, interval in self.intervals.items()
        }


def paired(
    candidate: pd.DataFrame | None,
    champion: pd.DataFrame | None,
    policy: PromotionPolicy,
    protocol: Mapping[str, Any],
) -> Paired:
    """The paired bootstrap of every metric that both tables have, of the method that the policy's metric belongs to.

    Args:
        candidate: its per-clip table (moso.evaluation.per_clip); None where there is none.
        champion: the champion's.
        policy: names the method ("prediction" of prediction.psnr), confidence, resamples and seed.
        protocol: that both were measured under; its `best_of` says which of several samples of a video counts.
    """
    if champion is None:
        return Paired(
            absent="the champion has no figures clip by clip (filed with versions since the paired comparison)"
        )
    if candidate is None:
        return Paired(faults=("the champion has figures clip by clip, the candidate has none: rerun evaluate",))
    method = policy.metric.partition(".")[0]
    best_of = protocol.get("best_of", "none")
    rows = [video_means(table[table["method"] == method], best_of) for table in (candidate, champion)]
    if all(table.empty for table in rows):
        return Paired(absent=f"neither table has a row of {method!r}")
    faults = _other_clips(*rows)
    if faults:
        return Paired(faults=faults)
    pairs = rows[0].merge(rows[1], on=CLIP, suffixes=("_new", "_old")).sort_values("clip_id")
    intervals: dict[str, Interval] = {}
    without: dict[str, str] = {}
    for metric in dict.fromkeys(name for table in rows[::-1] for name in metric_columns(table)):
        name = f"{method}.{metric}"
        problem = _unusable(metric, *rows)
        if not problem:
            new, old = (pairs[f"{metric}_{side}"].to_numpy(np.float64) for side in ("new", "old"))
            intervals[name] = _interval(new, old, pairs["episode_id"].tolist(), policy)
        elif name == policy.metric and metric in rows[1]:
            # The champion can be compared by it: a candidate does not get by with less.
            faults = (f"{name} clip by clip: {problem}; rerun evaluate",)
        else:
            without[name] = problem
    return Paired(intervals, without, faults=faults)


def _interval(
    new: NDArray[np.float64], old: NDArray[np.float64], episodes: Sequence[str], policy: PromotionPolicy
) -> Interval:
    return paired_bootstrap(
        new, old, episodes, seed=policy.seed, resamples=policy.resamples, confidence=policy.confidence
    )


def _unusable(metric: str, candidate: pd.DataFrame, champion: pd.DataFrame) -> str:
    """Why a metric's two columns give no interval; "" where they do."""
    for who, table in (("candidate", candidate), ("champion", champion)):
        if metric not in table:
            return f"the {who}'s table has no column {metric}"
        broken = int((~np.isfinite(table[metric].to_numpy(np.float64))).sum())
        if broken:
            return f"the {who} has no finite number at {broken} of {len(table)} clips"
    return ""


def _other_clips(candidate: pd.DataFrame, champion: pd.DataFrame) -> tuple[str, ...]:
    """Where the two do not hold the same clips; () where they do."""
    ours, theirs = (set(zip(table["clip_id"], table["episode_id"], strict=True)) for table in (candidate, champion))
    if ours == theirs:
        return ()
    found = [f"the figures clip by clip are of other clips: {len(ours & theirs)} are shared"]
    for who, only in (("candidate", ours - theirs), ("champion", theirs - ours)):
        if only:
            names = ", ".join(sorted(clip for clip, _ in only)[:NAMED]) + (" …" if len(only) > NAMED else "")
            found.append(f"only the {who} has {len(only)}: {names}")
    return tuple(found)
