"""LPIPS of single frames (Zhang et al. 2018), package lpips v0.1: a metric a backbone.

The released MOSO code evaluates with AlexNet and trains with VGG, MAGVIT and iVideoGPT evaluate with VGG; the backbone
moves the value fourfold, so it is part of the metric's name ("lpips_alex"), and figures of two never share a column.
Lower is better. There is no LPIPS without the published weights (moso.pretrained).

Legend: B batch, T frames, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from moso import pretrained
from moso.errors import ConfigError, DataError
from moso.evaluation.metrics import unit_range
from moso.vqvae.perceptual import FILES, HEADS, VERSION, Backbone, load_lpips

NAMES: dict[str, Backbone] = {f"lpips_{backbone}": backbone for backbone in get_args(Backbone)}
"""Metric -> lpips' name of its backbone."""
MINIMUM_SIDE: dict[Backbone, int] = {"alex": 31, "vgg": 16, "squeeze": 17}
"""Pixels below which a pooling of the backbone has nothing left."""
FRAMES = 64
"""Frames in one pass of the network: bounds the memory, changes no figure."""


class LpipsMetric:
    """LPIPS with one backbone.

    Attributes:
        name: "lpips_alex", "lpips_vgg" or "lpips_squeeze".
    """

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        """Load the network.

        Raises:
            ConfigError: no such metric.
            WeightsError: the backbone's file is missing or another one; the message says how to get it.
            DataError: package lpips brings other heads than those of v0.1.
        """
        if name not in NAMES:
            raise ConfigError("metrics", name, "no such LPIPS", f"known: {', '.join(NAMES)}")
        self.name, self.backbone, self.device = name, NAMES[name], torch.device(device)
        self.network = load_lpips(self.backbone, device)

    @torch.no_grad()
    def __call__(self, frames: Float[Tensor, "B T C H W"], truth: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T"]:
        """Distance of each frame, float64, on the CPU.

        Args:
            frames: float [0, 1].
            truth: float [0, 1], what `frames` should be.

        Raises:
            DataError: frames smaller than the backbone takes, or not of three channels.
        """
        channels, height, width = frames.shape[2:]
        least = MINIMUM_SIDE[self.backbone]
        if channels != 3 or min(height, width) < least:
            raise DataError(
                f"{self.name} needs 3 channels and at least {least} x {least} pixels, "
                f"got {channels} channels, {height} x {width}"
            )
        pairs = zip(frames.flatten(0, 1).split(FRAMES), truth.flatten(0, 1).split(FRAMES), strict=True)
        distances = [self.network(one.to(self.device), other.to(self.device)) for one, other in pairs]
        return torch.cat(distances).double().cpu().view(frames.shape[:2])

    def of_pictures(
        self, frames: UInt8[np.ndarray, "B T H W 3"], truth: UInt8[np.ndarray, "B T H W 3"]
    ) -> Float[np.ndarray, "B T"]:
        """Distance of each frame of 8-bit videos, as moso.evaluation.trials asks for it."""
        one, other = (unit_range(torch.from_numpy(np.ascontiguousarray(videos))) for videos in (frames, truth))
        distances: np.ndarray = self(one, other).numpy()
        return distances


def networks(name: str) -> Mapping[str, str]:
    """File -> sha256 of what the metric `name` rests on, backbone and heads: for the protocol, be they there or not."""
    backbone = NAMES[name]
    entry = pretrained.known(FILES[backbone])
    return {entry.file: entry.sha256, f"lpips v{VERSION} {backbone}.pth": HEADS[backbone]}


def convention(name: str) -> str:
    """The metric `name` in words, for the protocol."""
    return f"distance, lower is better; lpips v{VERSION}, {NAMES[name]}, [-1,1]; mean over frames"
