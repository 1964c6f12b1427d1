"""The content of metrics.json: overall figures, margins over the baselines with intervals, what is missing."""

from __future__ import annotations

from typing import Any

from moso.config import to_dict
from moso.evaluation.comparison import BASELINES, METHODS, METRICS, Comparison
from moso.evaluation.protocol import NOT_COMPUTED, Protocol
from moso.evaluation.statistics import Interval, paired_bootstrap


def margins(comparison: Comparison, *, seed: int, resamples: int) -> dict[str, dict[str, Interval]]:
    """baseline -> metric -> how far the prediction lies above it, with the interval over episodes."""
    return {
        baseline: {
            metric: paired_bootstrap(
                comparison.of_clips(metric, "prediction"),
                comparison.of_clips(metric, baseline),
                comparison.episodes,
                seed=seed,
                resamples=resamples,
            )
            for metric in METRICS
        }
        for baseline in BASELINES
    }


def summarise(
    comparison: Comparison,
    protocol: Protocol,
    intervals: dict[str, dict[str, Interval]],
    *,
    model_digest: str,
    sampling: Any,
) -> dict[str, Any]:
    """Plain data: method -> {"psnr" in dB, "ssim" as a fraction}, margins, protocol, digests and what is missing."""
    figures: dict[str, Any] = {
        method: {metric: float(comparison.values[metric][method].mean()) for metric in METRICS} for method in METHODS
    }
    return {
        **figures,
        "margins": {
            f"over_{baseline}": {m: {"mean": i.mean, "low": i.low, "high": i.high} for m, i in of_metric.items()}
            for baseline, of_metric in intervals.items()
        },
        "protocol": to_dict(protocol),
        "protocol_digest": protocol.digest,
        "model_digest": model_digest,
        "sampling": to_dict(sampling),
        # A list on purpose: `dvc metrics show` leaves lists out, and a reason is no figure.
        "not_computed": [to_dict(entry) for entry in NOT_COMPUTED],
    }
