"""What Stage I alone can do: test clips encoded, decoded and compared with themselves, all T frames of them.

The figures of a trained VQVAE that has no transformer (Tables 9 to 11), in the conventions of every other figure.

N clips, T frames of a clip, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from moso.errors import StopRequested
from moso.evaluation.metrics import psnr, ssim, unit_range
from moso.frames.clips import Clips, to_float, to_uint8
from moso.progress import Progress
from moso.step import StopSignal
from moso.vqvae.model import VQVAE


@dataclass(frozen=True)
class Reconstruction:
    """Values of every clip and frame.

    Attributes:
        values: metric -> (N, T): PSNR in dB, SSIM as a fraction.
        codes_used: entries of the codebook that these clips use.
    """

    values: Mapping[str, NDArray[np.float64]]
    codes_used: int

    def mean(self, metric: str) -> float:
        """Over clips and frames."""
        return float(self.values[metric].mean())


def reconstruct_clips(model: VQVAE, clips: Clips, *, batch: int = 8, stop: StopSignal | None = None) -> Reconstruction:
    """Score a VQVAE's reconstruction of whole clips, given frames included.

    Args:
        model: in evaluation mode, on any device.
        clips: of the model's length and size.
        batch: clips at a time; changes no figure.
        stop: ends the work between two batches.

    Raises:
        ConfigError: clips of another length or size.
        StopRequested: `stop` was raised.
    """
    count, frames = len(clips), model.config.frames
    values = {metric: np.empty((count, frames)) for metric in ("psnr", "ssim")}
    used = torch.zeros(len(model.codebook), dtype=torch.bool, device=model.codebook.device)
    with Progress("reconstruct", count, "clips") as progress:
        for first in range(0, count, batch):
            if stop:
                raise StopRequested("reconstruct: nothing was written, run it again")
            rows = range(first, min(first + batch, count))
            whole = clips.batch(list(rows))
            tokens = model.encode(to_float(whole).to(used.device))
            for part in (tokens.scene, tokens.object, tokens.motion):
                used[part.flatten()] = True
            drawn, truth = unit_range(to_uint8(model.decode(tokens)).cpu()), unit_range(whole)
            for metric, score in (("psnr", psnr), ("ssim", ssim)):
                values[metric][rows.start : rows.stop] = score(drawn, truth).numpy()
            progress.advance(len(rows), f"{values['psnr'][: rows.stop].mean():.2f} dB")
    return Reconstruction(values, int(used.sum()))
