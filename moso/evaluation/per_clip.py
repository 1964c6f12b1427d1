"""A report's figures, read: overall and per clip; per clip they are compared with another report's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moso.errors import ConfigError, DataError, MismatchError
from moso.evaluation.metrics import higher_is_better
from moso.evaluation.protocol_file import protocol_differences
from moso.evaluation.statistics import Interval, paired_bootstrap

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("clip_id", "episode_id", "first_frame", "method", "sample")
# What is measured, then what it is held against, then the ceiling: the order of tables.
METHOD_ORDER = (
    "prediction", "interpolation", "generation", "repeat_last", "mean_given", "linear", "hedge", "hold", "blend",
    "reconstruction", "motion_frozen",
)  # fmt: skip
BestOf = Literal["none", "each_metric_over_video_mean"]


def read_figures(report: Path) -> dict[str, Any]:
    """metrics.json: figures by method, margins, protocol, what was not computed.

    Raises:
        DataError: it is missing or carries no protocol.
    """
    try:
        figures: dict[str, Any] = json.loads((report / "metrics.json").read_text())
        str(figures["protocol_digest"]), dict(figures["protocol"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{report}: no figures with a protocol ({error!r}); rerun the step evaluate") from None
    return figures


def read_protocol(report: Path) -> tuple[str, Mapping[str, Any]]:
    """(digest, fields) of the protocol that a report's figures were measured under.

    Raises:
        DataError: metrics.json is missing or carries no protocol.
    """
    figures = read_figures(report)
    return str(figures["protocol_digest"]), dict(figures["protocol"])


def method_figures(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """method -> metric -> figure over all clips, of metrics.json's content, in the order of tables."""
    return {name: dict(figures[name]) for name in METHOD_ORDER if isinstance(figures.get(name), Mapping)}


def read_per_clip(report: Path) -> pd.DataFrame:
    """per_clip.parquet: clip_id, episode_id, first_frame, method, sample, a column a metric.

    A table of before there were several samples a video has no column `sample`; it then is 0 throughout.

    Raises:
        DataError: the table is missing, unreadable or lacks a column.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(report / "per_clip.parquet")
    except FileNotFoundError:
        if _task(read_protocol(report)[1]) == "unconditional":
            raise DataError(f"{report}: videos drawn from nothing have no truth, so no figure is of one clip") from None
        raise DataError(f"{report}: per_clip.parquet is missing; rerun the step evaluate") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{report}: per_clip.parquet cannot be read ({error}); rerun the step evaluate") from None
    missing = [name for name in IDENTITY[:-1] if name not in table.columns]
    if missing:
        raise DataError(f"{report}: per_clip.parquet lacks the columns {', '.join(missing)}; rerun the step evaluate")
    return table if "sample" in table.columns else table.assign(sample=0)


def metric_columns(table: pd.DataFrame) -> list[str]:
    """The table's metrics, in order."""
    return [str(name) for name in table.columns if name not in IDENTITY]


def video_means(table: pd.DataFrame, best_of: BestOf) -> pd.DataFrame:
    """A row a clip and method: what counts of its samples. A figure that one sample lacks is lacking (NaN).

    Args:
        table: of `read_per_clip`.
        best_of: the protocol's: "each_metric_over_video_mean" takes, for each metric on its own, the best sample in the
            metric's direction; "none" the mean over samples.
    """
    samples = table.groupby(["clip_id", "episode_id", "method"], sort=True)[metric_columns(table)]
    if best_of == "none":
        counted = samples.mean()
    else:
        counted = samples.agg({name: "max" if higher_is_better(name) else "min" for name in metric_columns(table)})
    whole: pd.DataFrame = counted.where(samples.count().eq(samples.size(), axis=0))
    return whole.reset_index()


def compare_reports(
    a: Path, b: Path, metrics: Sequence[str] | None = None, method: str | None = None, seed: int = 0
) -> dict[str, Interval]:
    """metric -> mean and interval of A - B over the clips that both hold (paired bootstrap over episodes).

    Of several samples a clip, what the protocol says counts: the best one, or their mean.

    Args:
        a: a report's folder.
        b: another one's.
        metrics: which; None takes all that both have.
        method: whose rows; None takes what the protocol measures ("prediction", "interpolation", "reconstruction").
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
    method, best_of = method or _task(protocol_a), protocol_a.get("best_of", "none")
    rows = [video_means(table[table["method"] == method], best_of) for table in (left, right)]
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


def _task(protocol: Mapping[str, Any]) -> str:
    """Also the name of the method that is measured; reports of before there were tasks are of predictions."""
    return str(protocol.get("task", "prediction"))
