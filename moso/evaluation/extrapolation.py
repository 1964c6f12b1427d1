"""The Fréchet distance at infinitely many videos, from the moments of parts of both sets.

Legend: n features in one call, N features in all, D their dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moso.errors import DataError
from moso.evaluation.frechet import Moments, State, checked, frechet_distance

GROUPS = 8
"""Ours: enough points for a line, and D = 400 costs 8 x 1.3 MB a side."""


class GroupedMoments:
    """Moments of a set in groups of equal size, from which the moments of parts of the set follow: for `extrapolated`.

    A feature's group is its number modulo the groups, so neither order nor batches matter; number a clip's features the
    same on both sides.
    """

    def __init__(self, dimension: int, groups: int = GROUPS) -> None:
        self.groups = [Moments(dimension) for _ in range(groups)]

    def add(self, features: npt.ArrayLike, numbers: npt.ArrayLike) -> None:
        """Take further features in.

        Args:
            features: finite floats (n, D).
            numbers: int (n,), each feature's number in its set, from 0.

        Raises:
            DataError: another shape, or a value that is not finite.
        """
        rows = checked(features, self.groups[0].dimension)
        group = np.asarray(numbers) % len(self.groups)
        if group.shape != (len(rows),):
            raise DataError(f"{len(rows)} features need as many numbers, got the shape {group.shape}")
        for place, moments in enumerate(self.groups):
            moments.add(rows[group == place])

    def part(self, first: int, groups: int) -> Moments:
        """The moments of `groups` neighbouring groups from `first` on, cyclically."""
        joined = Moments(self.groups[0].dimension)
        for place in range(first, first + groups):
            joined.merge(self.groups[place % len(self.groups)])
        return joined

    def whole(self) -> Moments:
        """The moments of the whole set."""
        return self.part(0, len(self.groups))

    def state(self) -> State:
        """Everything, as arrays."""
        states = [moments.state() for moments in self.groups]
        return {name: np.stack([state[name] for state in states]) for name in states[0]}

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> GroupedMoments:
        """What `state` was taken of."""
        grouped = cls(0, 0)
        for place in range(len(state["count"])):
            grouped.groups.append(Moments.from_state({name: np.asarray(array[place]) for name, array in state.items()}))
        return grouped


@dataclass(frozen=True)
class Extrapolation:
    """The distance at ever more videos, read off a line.

    Attributes:
        value: where the line meets N -> infinity.
        slope: the bias times N.
        counts: N of the smaller side at each point, ascending.
        values: the mean distance at each point, over the parts of that size.
    """

    value: float
    slope: float
    counts: tuple[int, ...]
    values: tuple[float, ...]


def extrapolated(a: GroupedMoments, b: GroupedMoments, ddof: int = 1) -> Extrapolation:
    """The distance that infinitely many videos of each side would have (after Chong and Forsyth 2020).

    A distance of finite samples is too large by about c / N. Parts from half of both sets to the whole give points on
    that line; both sides shrink together, since both add to the bias. Each point is the mean over all cyclic parts of
    its size. The value may come out slightly below 0 where the two sets are alike: it is an estimate and is not cut.

    Raises:
        DataError: groups that differ in number, or a smallest part with no more features than dimensions: its singular
            covariance is not on the line, and the figure would mislead.
    """
    groups = len(a.groups)
    if len(b.groups) != groups or groups < 2:
        raise DataError(f"{groups} and {len(b.groups)} groups: both sides need the same number, at least 2")
    sizes = range(-(-groups // 2), groups + 1)
    dimension = a.groups[0].dimension
    counts: list[int] = []
    values: list[float] = []
    for size in sizes:
        starts = range(groups if size < groups else 1)
        parts = [(a.part(start, size), b.part(start, size)) for start in starts]
        smallest = min(min(one.count, other.count) for one, other in parts)
        if smallest <= dimension:
            raise DataError(
                f"a part of {smallest} features of {dimension} dimensions is too small to extrapolate from: "
                f"at least about {2 * (dimension + groups)} videos are needed"
            )
        counts.append(smallest)
        values.append(float(np.mean([frechet_distance(one, other, ddof) for one, other in parts])))
    # over 1 / share of the set: with c1 / N1 + c2 / N2 both terms are straight in it, whatever the two numbers are
    shares = np.array(sizes) / groups
    slope, value = np.polyfit(1 / shares, values, 1)
    whole = min(a.whole().count, b.whole().count)
    return Extrapolation(float(value), float(slope) * whole, tuple(counts), tuple(values))
