"""The curve of a training: a row a recorded step, and the means that become the next row."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

History = list[dict[str, float]]
"""Rows {"step": completed steps, figure: value …}; a row holds the figures that were recorded at its step."""


class Means:
    """Means of figures over the steps since the last row; a figure counts at the steps that gave it.

    Sums are Python floats, which JSON keeps exactly, so that a run resumed between two rows records the same row.
    """

    def __init__(self, sums: Mapping[str, Sequence[float]] | None = None) -> None:
        self.sums = {name: (float(total), int(count)) for name, (total, count) in (sums or {}).items()}

    def add(self, figures: Mapping[str, float]) -> None:
        """Count the figures of one step."""
        for name, value in figures.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def take(self) -> dict[str, float]:
        """The means, and begin anew."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def record(history: History, step: int, figures: Mapping[str, float]) -> None:
    """Add `figures` to the row of `step`, which is the last one or a new one."""
    if not history or history[-1]["step"] != step:
        history.append({"step": step})
    history[-1].update(figures)


def write_history(history: History, path: Path) -> None:
    """Write history.csv: the column step first, then the figures by name; a cell is empty where there is no figure.

    Nothing in it depends on the clock, so equal runs write equal bytes.
    """
    names = sorted({name for row in history for name in row} - {"step"})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
