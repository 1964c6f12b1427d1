"""How figures grow: the exponent of a power law, and the last one beside a straight line or beside the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """p of y = c x^p, by least squares of the logarithms: 1 is proportional, 0 flat, 2 quadratic.

    Below 1 where y has a part that does not grow with x; see `against_linear`.
    """
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def against_linear(x: Sequence[float], y: Sequence[float]) -> float:
    """The last y beside what a straight line through the others (least squares) leads to: 1 is linear.

    A straight line and not a multiple: a part that does not grow with x is allowed.
    """
    slope, start = np.polyfit(x[:-1], y[:-1], 1)
    return float(y[-1] / (start + slope * x[-1]))


def against_flat(y: Sequence[float]) -> float:
    """The last y over the first: 1 is flat."""
    return y[-1] / y[0]
