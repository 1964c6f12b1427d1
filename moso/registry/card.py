"""The model card: a template with $names, filled from what is known about a registered version."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moso.errors import FormatError
from moso.evaluation.metrics import heading

TEMPLATE = Path(__file__).with_name("model_card.md")  # mlflow/model_card.md is a link to it
METHODS = {
    "prediction": "**prediction**",
    "interpolation": "**interpolation**",
    "generation": "**videos from nothing**",
    "repeat_last": "repeat the last given frame",
    "mean_given": "mean of the given frames",
    "linear": "linear extrapolation of the pixels",
    "hedge": "0.85 x last frame + 0.15 x mean training image",
    "hold": "hold the frame before",
    "blend": "blend the frames on both sides",
    "reconstruction": "the VQVAE's own reconstruction (the ceiling)",
}
# Digits behind the point; a metric that is not here is not shown.
DIGITS = {"psnr": 2, "ssim": 4, "lpips_alex": 4, "lpips_vgg": 4, "lpips_squeeze": 4, "fvd": 1, "fid": 1}


def fill(template: str, values: Mapping[str, Any]) -> str:
    """`template` with every $name replaced by values[name]; $$ stands for a dollar sign.

    Raises:
        FormatError: a name that has no value: a card with holes is not filed.
    """
    try:
        return string.Template(template).substitute({name: str(value) for name, value in values.items()})
    except KeyError as error:
        known = ", ".join(sorted(values))
        raise FormatError(f"the model card's template asks for ${error.args[0]}; known: {known}") from None
    except ValueError as error:
        raise FormatError(f"the model card's template: {error}") from None


def results_table(metrics: Mapping[str, float]) -> str:
    """A Markdown table: a row for what was measured and each method it is held against, a column a computed metric.

    Args:
        metrics: dotted name -> figure, for example "prediction.psnr" in dB, "prediction.ssim" as a fraction.
    """
    columns = [metric for metric in DIGITS if any(f"{method}.{metric}" in metrics for method in METHODS)]
    if not columns:
        return "No figure was computed."
    headings = [heading(metric) + (" (dB)" if metric == "psnr" else "") for metric in columns]
    lines = [f"| | {' | '.join(headings)} |", "|---" * (len(columns) + 1) + "|"]
    for method, title in METHODS.items():
        figures = [metrics.get(f"{method}.{metric}") for metric in columns]
        if any(figure is not None for figure in figures):
            cells = [_number(figure, DIGITS[metric]) for figure, metric in zip(figures, columns, strict=True)]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def values(
    *,
    name: str,
    dataset: str,
    model: Mapping[str, Any],
    candidate: Mapping[str, Any],
    provenance: Mapping[str, Any],
    protocol_name: str = "",
) -> dict[str, Any]:
    """What the template may name.

    Args:
        name: the registered model's name.
        dataset: the data set's name.
        model: given_frames, clip_frames, height, width, steps.
        candidate: as `decide` takes it: model_digest, protocol_digest, protocol, metrics.
        provenance: data_digest, config_digest, code_digest, git_commit, package_version, seed, image, parent_version.
        protocol_name: of the protocol's file, where one was asked for ("kth/64").
    """
    protocol = candidate.get("protocol") or {}
    return {
        "name": name,
        "dataset": dataset,
        "predicted_frames": model["clip_frames"] - model["given_frames"],
        "results": results_table(candidate["metrics"]),
        "clips": protocol.get("clips", "not recorded"),
        "episodes": protocol.get("episodes", "not recorded"),
        "model_digest": candidate["model_digest"],
        "protocol": f"{protocol_name + ', ' if protocol_name else ''}`{candidate['protocol_digest']}`",
        "protocol_digest": candidate["protocol_digest"],
        **model,
        **provenance,
    }


def _number(value: float | None, digits: int) -> str:
    return "not computed" if value is None else f"{value:.{digits}f}"
