"""A report's per-clip table: read, averaged over samples, and compared with another report's, clip by clip."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moso.errors import ConfigError, DataError, MismatchError
from moso.evaluation.protocol_file import protocol_differences
from moso.evaluation.statistics import Interval, paired_bootstrap

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("clip_id", "episode_id", "first_frame", "method", "sample")
METHOD_ORDER = ("prediction", "repeat_last", "hedge", "reconstruction", "motion_frozen")


def read_protocol(report: Path) -> tuple[str, Mapping[str, Any]]:
    """(digest, fields) of the protocol that a report's figures were measured under.

    Raises:
        DataError: metrics.json is missing or carries no protocol.
    """
    try:
        metrics = json.loads((report / "metrics.json").read_text())
        return str(metrics["protocol_digest"]), dict(metrics["protocol"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{report}: no figures with a protocol ({error!r}); rerun the step evaluate") from None


def read_per_clip(report: Path) -> pd.DataFrame:
    """per_clip.parquet: clip_id, episode_id, first_frame, method, sample, a column a metric.

    A table of before there were several samples a video has no column `sample`; it then is 0 throughout.

    Raises:
        DataError: the table is missing, unreadable or lacks a column.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(report / "per_clip.parquet")
    except (OSError, ValueError) as error:
        raise DataError(f"{report}: per_clip.parquet cannot be read ({error}); rerun the step evaluate") from None
    missing = [name for name in IDENTITY[:-1] if name not in table.columns]
    if missing:
        raise DataError(f"{report}: per_clip.parquet lacks the columns {', '.join(missing)}; rerun the step evaluate")
    return table if "sample" in table.columns else table.assign(sample=0)


def metric_columns(table: pd.DataFrame) -> list[str]:
    """The table's metrics, in order."""
    return [str(name) for name in table.columns if name not in IDENTITY]


def video_means(table: pd.DataFrame) -> pd.DataFrame:
    """A row a clip and method, the mean over its samples."""
    means: pd.DataFrame = table.groupby(["clip_id", "episode_id", "method"], sort=True)[metric_columns(table)].mean()
    return means.reset_index()


def compare_reports(
    a: Path, b: Path, metrics: Sequence[str] | None = None, method: str = "prediction", seed: int = 0
) -> dict[str, Interval]:
    """metric -> mean and interval of A - B over the clips that both hold (paired bootstrap over episodes).

    Args:
        a: a report's folder.
        b: another one's.
        metrics: which; None takes all that both have.
        method: whose rows.
        seed: of the bootstrap.

    Raises:
        MismatchError: the protocols differ (the fields are listed), or no clip is shared.
        ConfigError: a metric that one of them lacks.
        DataError: a report that cannot be read.
    """
    (digest_a, protocol_a), (digest_b, protocol_b) = read_protocol(a), read_protocol(b)
    if digest_a != digest_b:
        where = "; ".join(protocol_differences(protocol_a, protocol_b)) or f"digest: {digest_a} | {digest_b}"
        raise MismatchError(f"{a} and {b} were measured under different protocols and cannot be compared: {where}")
    left, right = read_per_clip(a), read_per_clip(b)
    both = [name for name in metric_columns(left) if name in metric_columns(right)]
    for name in metrics or ():
        if name not in both:
            raise ConfigError("metric", name, "is not in both reports", f"both have: {', '.join(both)}")
    rows = [video_means(table[table["method"] == method]) for table in (left, right)]
    pairs = rows[0].merge(rows[1], on=["clip_id", "episode_id"], suffixes=("_a", "_b")).sort_values("clip_id")
    if pairs.empty:
        raise MismatchError(f"{a} and {b} share no clip with the method {method!r}: there is nothing to compare")
    found = {}
    for name in metrics or both:
        values = [pairs[f"{name}_{side}"].to_numpy(np.float64) for side in "ab"]
        if not all(np.isfinite(v).all() for v in values):
            raise DataError(f"{name} was not computed for every clip of {a} and {b}; name others with --metric")
        found[name] = paired_bootstrap(values[0], values[1], pairs["episode_id"].tolist(), seed=seed)
    return found
