"""The metrics that a protocol asks for: those that can be computed here as functions, the others with their reason.

Legend: B videos, P frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from moso import pretrained
from moso.errors import ConfigError
from moso.evaluation import features, lpips_metric, metrics
from moso.evaluation.features import FeatureNetwork, load_features, not_computed
from moso.evaluation.lpips_metric import LpipsMetric
from moso.evaluation.protocol import NotComputed

FrameScore = Callable[[UInt8[np.ndarray, "B P H W 3"], UInt8[np.ndarray, "B P H W 3"]], Float[np.ndarray, "B P"]]
"""Predicted frames and the true ones -> a figure a frame."""
OF_FRAMES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"psnr": metrics.psnr, "ssim": metrics.ssim}


@dataclass(frozen=True)
class Measures:
    """What a run computes.

    Attributes:
        scores: metric -> function of pictures and truth, in the protocol's order.
        networks: "fvd", "fid" -> its network.
        not_computed: the rest, with reason and remedy.
    """

    scores: Mapping[str, FrameScore]
    networks: Mapping[str, FeatureNetwork]
    not_computed: tuple[NotComputed, ...]


def measures_of(asked: Sequence[str], frames: int, device: torch.device | str) -> Measures:
    """Load what is there.

    Args:
        asked: the protocol's metrics.
        frames: of a scored video.
        device: where networks, PSNR and SSIM run.

    Raises:
        ConfigError: an unknown metric.
        WeightsError: a file that was replaced between its check and its loading.
    """
    missing = {metric: reason for metric in asked if (reason := not_computed(metric, frames)) is not None}
    scores: dict[str, FrameScore] = {}
    networks: dict[str, FeatureNetwork] = {}
    for metric in asked:
        if metric in missing:
            continue
        if metric in OF_FRAMES:
            scores[metric] = _of_frames(OF_FRAMES[metric], torch.device(device))
        elif metric in lpips_metric.NAMES:
            scores[metric] = LpipsMetric(metric, device).of_pictures
        elif metric in features.CONVENTIONS:
            networks[metric] = load_features(metric, device)
        else:
            known = ", ".join((*OF_FRAMES, *lpips_metric.NAMES, *features.CONVENTIONS))
            raise ConfigError("metrics", metric, "no such metric", f"known: {known}")
    return Measures(scores, networks, tuple(missing.values()))


def conventions(asked: Sequence[str]) -> dict[str, str]:
    """Metric -> its convention in words, for the protocol; "frames" says in which form pictures are compared."""
    found = {"frames": metrics.CONVENTIONS["frames"]}
    for metric in asked:
        if metric in OF_FRAMES:
            found[metric] = metrics.CONVENTIONS[metric]
        elif metric in lpips_metric.NAMES:
            found[metric] = lpips_metric.convention(metric)
        else:
            found[metric] = features.CONVENTIONS[metric]
    return found


def networks_of(asked: Sequence[str]) -> dict[str, str]:
    """File -> sha256 of every network that the metrics rest on, whether it is there or not: for the protocol."""
    found: dict[str, str] = {}
    for metric in asked:
        if metric in lpips_metric.NAMES:
            found |= lpips_metric.networks(metric)
        elif metric in features.NETWORK_OF:
            entry = pretrained.known(features.NETWORK_OF[metric])
            found[entry.file] = entry.sha256
    return found


def _of_frames(function: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> FrameScore:
    def score(videos: np.ndarray, truth: np.ndarray) -> np.ndarray:
        pair = [metrics.unit_range(torch.from_numpy(np.ascontiguousarray(part)).to(device)) for part in (videos, truth)]
        found: np.ndarray = function(*pair).cpu().numpy()
        return found

    return score
