"""The content of metrics.json: overall figures, margins over the baselines with intervals, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moso.config import to_dict
from moso.evaluation.comparison import Comparison
from moso.evaluation.frechet_metric import FrechetFigure
from moso.evaluation.protocol import NotComputed, Protocol
from moso.evaluation.statistics import Interval, paired_bootstrap

Margins = Mapping[str, Mapping[str, Interval]]
"""baseline -> metric -> `main` less the baseline, whatever the metric's direction."""


def margins(comparison: Comparison, *, seed: int, resamples: int) -> dict[str, dict[str, Interval]]:
    """How far what was measured lies above each baseline (a gain where higher is better), with the interval."""
    return {
        baseline: {
            metric: paired_bootstrap(
                comparison.of_clips(metric, comparison.main),
                comparison.of_clips(metric, baseline),
                comparison.episodes,
                seed=seed,
                resamples=resamples,
            )
            for metric in comparison.metrics
        }
        for baseline in comparison.baselines
    }


def summarise(
    comparison: Comparison | None,
    protocol: Protocol,
    intervals: Margins,
    *,
    main: str,
    frechet: Mapping[str, FrechetFigure],
    not_computed: Sequence[NotComputed],
    model_digest: str,
    sampling: Any,
) -> dict[str, Any]:
    """Plain data: method -> {metric: figure}, margins, the numbers behind Fréchet distances, protocol, digests.

    Args:
        comparison: figures by clip; None of an unconditional protocol.
        protocol: what was measured.
        intervals: of `margins`.
        main: name of what was measured.
        frechet: "fvd", "fid" where computed.
        not_computed: what is missing and why.
        model_digest: of the model.
        sampling: settings that the videos were drawn with.
    """
    figures: dict[str, dict[str, Any]] = {}
    if comparison is not None:
        for method in comparison.methods:
            figures[method] = {m: float(comparison.values[m][method].mean()) for m in comparison.metrics}
    for metric, figure in frechet.items():
        of_main = figures.setdefault(main, {})
        of_main[metric] = figure.value
        if figure.extrapolated is not None:
            of_main[f"{metric}_extrapolated"] = figure.extrapolated
    return {
        **figures,
        **({"frechet": {metric: to_dict(figure) for metric, figure in frechet.items()}} if frechet else {}),
        "margins": {
            f"over_{baseline}": {
                m: {"mean": i.mean, "low": i.low, "high": i.high, "detectable": i.detectable()}
                for m, i in of_metric.items()
            }
            for baseline, of_metric in intervals.items()
        },
        "protocol": to_dict(protocol),
        "protocol_digest": protocol.digest,
        "model_digest": model_digest,
        "sampling": to_dict(sampling),
        # A list on purpose: `dvc metrics show` leaves lists out, and a reason is no figure.
        "not_computed": [to_dict(entry) for entry in not_computed],
    }
