"""Losses of Stage I on drawn frames (Sec. 3.1.4, C.5): L1 or L2, perceptual, negative SSIM, and their weights.

Commitment comes from the quantisation (model.py), the adversarial terms from adversarial.py. Each term here is a mean
over frames, so a random subset of a clip's frames gives an unbiased gradient.

B clips, n frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from moso.config import check_choices
from moso.errors import ConfigError
from moso.vqvae.discriminators import AdversarialConfig

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03
"""Window and constants of SSIM as its authors give them (Wang et al. 2004), for a data range of 1."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of Stage I's terms."""

    reconstruction: Literal["l1", "l2"] = "l2"
    """The paper: L2. The released code: L1, by a mistyped key."""
    reconstruction_weight: float = 1.0
    commitment: float = 0.25
    """beta of Eq. 9 (released code)."""
    ssim: float = 0.0
    """Weight of 1 - SSIM. Read as the paper's on KTH 128 alone (C.5; docs/deviations.md); its weight is not printed."""
    perceptual: float = 0.0
    """Weight of LPIPS (VGG). The paper's presets have the released code's 1; off by default, since its backbone's
    weights are a file that must be fetched (moso.vqvae.perceptual)."""
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("reconstruction_weight", "commitment", "ssim", "perceptual"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "a weight must not be negative", "0 leaves the term out")
        if not (self.reconstruction_weight or self.ssim or self.perceptual):
            raise ConfigError(
                "reconstruction_weight",
                0,
                "no term is left that compares the drawn frames with the true ones",
                "1 is usual",
            )


def reconstruction_terms(
    config: LossConfig,
    drawn: Float[Tensor, "B n 3 H W"],
    frames: Float[Tensor, "B n 3 H W"],
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, tuple[float, Float[Tensor, ""]]]:
    """name -> (weight, term) of everything that compares drawn frames with the true ones, both in [0, 1].

    Terms of weight 0 are not computed (but for L1 or L2, which is recorded). `perceptual` gives a distance an image
    pair; it is needed where the config has a weight for it.
    """
    distance = F.l1_loss if config.reconstruction == "l1" else F.mse_loss
    terms: dict[str, tuple[float, Tensor]] = {
        config.reconstruction: (config.reconstruction_weight, distance(drawn, frames))
    }
    if config.perceptual:
        assert perceptual is not None
        terms["perceptual"] = (config.perceptual, perceptual(drawn.flatten(0, 1), frames.flatten(0, 1)).mean())
    if config.ssim:
        terms["dissimilarity"] = (config.ssim, 1 - ssim(drawn.flatten(0, 1), frames.flatten(0, 1)))
    return terms


def ssim(a: Float[Tensor, "n C H W"], b: Float[Tensor, "n C H W"]) -> Float[Tensor, ""]:
    """Mean structural similarity of images in [0, 1]; Gaussian window, only where it lies wholly inside the image.

    The separable filter is two products with a banded matrix, which a CPU does several times as fast as a depthwise
    convolution. On s = a + b and d = a - b four filtered images suffice instead of five: mean(s)^2 - mean(d)^2 =
    4 mean(a) mean(b), mean(s)^2 + mean(d)^2 = 2 (mean(a)^2 + mean(b)^2), and likewise for the variances.

    Raises:
        ConfigError: images smaller than the window.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float().contiguous(), b.float().contiguous()
        total, difference = a + b, a - b
        maps = torch.stack([total, difference, total.square(), difference.square()])
        rows, columns = (_band(size, a.device) for size in a.shape[-2:])
        mean_s, mean_d, square_s, square_d = (rows @ (maps @ columns.T)).unbind()
        product, power = mean_s.square(), mean_d.square()
        spread_s, spread_d = square_s - product, square_d - power
        # both numerator and denominator carry a factor 1/2, as do the constants
        c1, c2 = 2 * K1**2, 2 * K2**2
        top = (product - power + c1) * (spread_s - spread_d + c2)
        return (top / ((product + power + c1) * (spread_s + spread_d + c2))).mean()


@lru_cache(maxsize=8)
def _band(size: int, device: torch.device) -> Float[Tensor, "out size"]:
    """The Gaussian filter as a matrix: row i holds the window over pixels i .. i + 10."""
    if size < WINDOW:
        raise ConfigError(
            "ssim",
            size,
            f"frames must have at least {WINDOW} pixels each way",
            "set the SSIM weight to 0 for smaller ones",
        )
    places = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-places.square() / (2 * SIGMA**2))
    window = (window / window.sum()).float()
    out = size - WINDOW + 1
    band = torch.zeros(out, size)
    for i in range(out):
        band[i, i : i + WINDOW] = window
    return band.to(device)


def psnr(drawn: Float[Tensor, "*b C H W"], frames: Float[Tensor, "*b C H W"]) -> Float[Tensor, "*b"]:
    """Peak signal-to-noise ratio a frame in dB, drawn frames clamped to [0, 1] first; the error is floored at 1e-10
    (100 dB)."""
    error = (drawn.clamp(0, 1) - frames).square().mean((-3, -2, -1))
    return -10 * error.clamp_min(1e-10).log10()
