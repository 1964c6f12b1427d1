"""What Stage I alone can do: test clips encoded, decoded and compared with themselves, all T frames of them.

The figures of a trained VQVAE that has no transformer (Tables 9 to 11), in the conventions of every other figure.

N clips, T frames of a clip, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from moso.errors import DataError, StopRequested
from moso.evaluation.features import DDOF
from moso.evaluation.frechet import Moments, frechet_distance
from moso.evaluation.measures import measures_of
from moso.evaluation.protocol import NotComputed
from moso.frames.clips import Clips, to_float, to_uint8
from moso.progress import Progress
from moso.step import StopSignal
from moso.vqvae.model import VQVAE

METRICS = ("psnr", "ssim", "lpips_alex", "fid", "fvd")
"""Those of Tables 9 to 11."""


@dataclass(frozen=True)
class Reconstruction:
    """Values of every clip and frame.

    Attributes:
        values: metric -> (N, T): PSNR in dB, SSIM as a fraction.
        codes_used: entries of the codebook that these clips use.
        frechet: "fid", "fvd" where computed.
        not_computed: what is missing and why.
    """

    values: Mapping[str, NDArray[np.float64]]
    codes_used: int
    frechet: Mapping[str, float]
    not_computed: Sequence[NotComputed]

    def mean(self, metric: str) -> float | None:
        """Over clips and frames; None of a metric that was not computed."""
        if metric in self.frechet:
            return self.frechet[metric]
        return float(self.values[metric].mean()) if metric in self.values else None


def reconstruct_clips(
    model: VQVAE,
    clips: Clips,
    *,
    metrics: Sequence[str] = METRICS,
    batch: int = 8,
    stop: StopSignal | None = None,
) -> Reconstruction:
    """Score a VQVAE's reconstruction of whole clips, given frames included.

    Args:
        model: in evaluation mode, on any device.
        clips: of the model's length and size.
        metrics: what to compute; what needs a network that is not there is said to be not computed.
        batch: clips at a time; changes no figure.
        stop: ends the work between two batches.

    Raises:
        ConfigError: clips of another length or size, or an unknown metric.
        StopRequested: `stop` was raised.
    """
    count, frames, device = len(clips), model.config.frames, model.codebook.device
    measures = measures_of(metrics, frames, device)
    values = {metric: np.empty((count, frames)) for metric in measures.scores}
    sets = {
        name: (Moments(network.dimension), Moments(network.dimension)) for name, network in measures.networks.items()
    }
    used = torch.zeros(len(model.codebook), dtype=torch.bool, device=device)
    with Progress("reconstruct", count, "clips") as progress:
        for first in range(0, count, batch):
            if stop:
                raise StopRequested("reconstruct: nothing was written, run it again")
            rows = range(first, min(first + batch, count))
            whole = clips.batch(list(rows))
            tokens = model.encode(to_float(whole).to(device))
            for part in (tokens.scene, tokens.object, tokens.motion):
                used[part.flatten()] = True
            drawn = to_uint8(model.decode(tokens)).cpu()
            for metric, score in measures.scores.items():
                values[metric][rows.start : rows.stop] = score(drawn.numpy(), whole.numpy())
            for metric, network in measures.networks.items():
                for moments, videos in zip(sets[metric], (drawn, whole), strict=True):
                    moments.add(network(videos).numpy())
            progress.advance(len(rows), f"{values['psnr'][: rows.stop].mean():.2f} dB" if "psnr" in values else "")
    frechet, unmet = {}, []
    for metric, (ours, truth) in sets.items():
        try:
            frechet[metric] = frechet_distance(ours, truth, DDOF[metric])
        except DataError as error:
            unmet.append(NotComputed(metric, str(error), ""))
    return Reconstruction(values, int(used.sum()), frechet, (*measures.not_computed, *unmet))
