"""A training's history as charts: which columns of history.csv belong together, on which axis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

HISTORY = "history.csv"
# Chart's title, vertical axis, logarithmic?, columns: those that match, in the history's order.
GROUPS = (
    (
        "loss and its terms",
        "loss",
        True,
        re.compile(r"(validation_)?(loss|l1|l2|dissimilarity|commitment|\w+_loss|\w+_cross_entropy)"),
    ),
    ("reconstruction in training", "PSNR (dB)", False, re.compile(r"(validation_)?psnr(_frozen)?")),
    ("accuracy", "share of tokens", False, re.compile(r"(validation_)?\w*accuracy")),
)


@dataclass(frozen=True)
class Curves:
    """Columns of one chart.

    Attributes:
        title: of the chart.
        label: of its vertical axis.
        log: whether that is logarithmic.
        columns: name -> (steps, values), without the rows where the column is empty.
    """

    title: str
    label: str
    log: bool
    columns: dict[str, tuple[Sequence[float], Sequence[float]]]


def read_curves(stage: str, folder: Path) -> list[Curves]:
    """The charts of a trained stage, from `folder`/history.csv; a group without a column is left out.

    Args:
        stage: its name, the beginning of every title.
        folder: the output of a training step.
    """
    table = pd.read_csv(folder / HISTORY)
    charts = []
    for title, label, log, pattern in GROUPS:
        names = [str(name) for name in table.columns if pattern.fullmatch(str(name)) and table[name].notna().any()]
        columns = {}
        for name in names:
            rows = table[table[name].notna()]
            columns[name] = (rows["step"].tolist(), rows[name].tolist())
        if columns:
            charts.append(Curves(f"{stage}: {title}", label, log, columns))
    return charts
