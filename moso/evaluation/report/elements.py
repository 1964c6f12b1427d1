"""Pieces that sections are built of: tiles, tables, lists of names and values, margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moso.evaluation.metrics import higher_is_better
from moso.evaluation.report.markup import Markup, tag
from moso.evaluation.report.words import show
from moso.evaluation.statistics import Interval


def tile(name: str, value: object, more: str) -> Markup:
    """One figure, large."""
    return tag(
        "div",
        tag("div", name, class_="name"),
        tag("div", value, class_="value"),
        tag("div", more, class_="more"),
        class_="tile",
    )


def margin(metric: str, interval: Interval) -> tuple[Markup, str]:
    """A difference, coloured where its interval leaves no doubt that it is good or bad, and the interval's ends.

    Whether it is good depends on the metric: an LPIPS below the baseline's is.
    """
    sure = 1 if interval.low > 0 else -1 if interval.high < 0 else 0
    judged = {1: "good", -1: "bad", 0: None}[sure if higher_is_better(metric) else -sure]
    ends = f"{show(metric, interval.low, sign=True)} to {show(metric, interval.high, sign=True)}"
    return tag("span", show(metric, interval.mean, sign=True), class_=judged), ends


def table(heads: Sequence[tuple[str, str]], rows: Sequence[Markup]) -> Markup:
    """A table in a box of its own that scrolls where the window is narrow.

    Args:
        heads: of the columns: name, small print; none for a table without a head.
        rows: tr elements.
    """
    cells = [tag("th", name, tag("small", small) if small else None, scope="col") for name, small in heads]
    top = tag("thead", tag("tr", cells)) if heads else None
    return tag("div", tag("table", top, tag("tbody", rows)), class_="wide", tabindex=0)


def definitions(rows: Mapping[str, object]) -> Markup:
    """Names and values."""
    return tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in rows.items()])


def thinned(x: Sequence[float], y: Sequence[float] | NDArray[Any], most: int = 300) -> tuple[list[float], list[float]]:
    """At most `most` points: means over runs of neighbours, which also calms a noisy curve."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    if len(xs) <= most:
        return xs.tolist(), ys.tolist()
    parts = np.array_split(np.arange(len(xs)), most)
    return [float(xs[p].mean()) for p in parts], [float(ys[p].mean()) for p in parts]
