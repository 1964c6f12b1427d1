"""The model card: a template with $names, filled from what is known about a registered version."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moso.errors import FormatError

TEMPLATE = Path(__file__).with_name("model_card.md")  # mlflow/model_card.md is a link to it
METHODS = {
    "prediction": "**prediction**",
    "repeat_last": "repeat the last given frame",
    "hedge": "0.85 x last frame + 0.15 x mean training image",
    "reconstruction": "the VQVAE's own reconstruction (the ceiling)",
}


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
    """A Markdown table of PSNR (dB) and SSIM (fraction) of the prediction and the baselines that were evaluated.

    Args:
        metrics: dotted name -> figure, for example "prediction.psnr".
    """
    lines = ["| | PSNR (dB) | SSIM |", "|---|---|---|"]
    for method, title in METHODS.items():
        psnr, ssim = metrics.get(f"{method}.psnr"), metrics.get(f"{method}.ssim")
        if psnr is not None or ssim is not None:
            lines.append(f"| {title} | {_number(psnr, 2)} | {_number(ssim, 4)} |")
    return "\n".join(lines)


def values(
    *, name: str, dataset: str, model: Mapping[str, Any], candidate: Mapping[str, Any], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """What the template may name.

    Args:
        name: the registered model's name.
        dataset: the data set's name.
        model: given_frames, clip_frames, height, width, steps.
        candidate: as `decide` takes it: model_digest, protocol_digest, protocol, metrics.
        provenance: digests and commit: data_digest, config_digest, code_digest, git_commit, package_version, seed.
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
        "protocol_digest": candidate["protocol_digest"],
        **model,
        **provenance,
    }


def _number(value: float | None, digits: int) -> str:
    return "not computed" if value is None else f"{value:.{digits}f}"
