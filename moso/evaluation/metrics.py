"""PSNR and SSIM of single frames.

Conventions, the same for every method (they are part of the protocol): frames are compared as 8-bit pictures divided
by 255; PSNR is taken per frame and then averaged over frames, never from a clip's joint error (the two differ by
decibels); identical frames get 100 dB because the squared error is floored at 1e-10; SSIM is that of Wang et al.
(2004): Gaussian window of 11 pixels with sigma 1.5, K1 0.01, K2 0.03, range 1, averaged over the window positions that
lie wholly inside the frame, then over channels.

The core must run without torchmetrics (whose import fails beside a CPU torch), hence these few lines; tests hold them
against scikit-image.

Legend: B batch, T frames, C channels, H W pixels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

MSE_FLOOR = 1e-10
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_K1 = 0.01
SSIM_K2 = 0.03
HIGHER_IS_BETTER = ("psnr", "ssim")
HEADINGS = {"psnr": "PSNR", "ssim": "SSIM", "fvd": "FVD", "fid": "FID"}
# Stated in every protocol: change a convention and its text together.
CONVENTIONS = {
    "psnr": "dB; -10 log10(max(MSE, 1e-10)) per frame on [0,1], over pixels and channels; mean over frames",
    "ssim": "fraction; gaussian window 11, sigma 1.5, K1 0.01, K2 0.03, range 1, valid positions; mean over frames",
    "frames": "uint8 pictures divided by 255",
}


def higher_is_better(metric: str) -> bool:
    """The direction of a metric: PSNR and SSIM rise, every distance (LPIPS, FID, FVD) falls."""
    return metric in HIGHER_IS_BETTER


def heading(metric: str) -> str:
    """A metric as tables show it: "lpips_alex" -> "LPIPS (alex)", for another backbone is another metric."""
    if metric.startswith("lpips_"):
        return f"LPIPS ({metric.removeprefix('lpips_')})"
    return HEADINGS.get(metric, metric)


def unit_range(frames: UInt8[Tensor, "B T H W C"]) -> Float[Tensor, "B T C H W"]:
    """8-bit frames as float32 in [0, 1], channels before pixels."""
    return frames.permute(0, 1, 4, 2, 3).to(torch.float32) / 255


def psnr(frames: Float[Tensor, "B T C H W"], truth: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T"]:
    """Peak signal-to-noise ratio of each frame.

    Args:
        frames: float [0, 1].
        truth: float [0, 1], what `frames` should be.

    Returns:
        dB, at most 100.
    """
    squared = (frames.double() - truth.double()).square().mean(dim=(-3, -2, -1))
    return -10 * squared.clamp_min(MSE_FLOOR).log10()


def gaussian_filter(size: int) -> Float[Tensor, "size valid"]:
    """The SSIM window along one axis as a banded matrix: `x @ gaussian_filter(W)` blurs the last axis of `x`.

    Only positions where the window fits are kept (size - 10 of them). A product of matrices is several times faster on
    a CPU than a depthwise convolution of the same few pixels.

    Raises:
        ValueError: the window does not fit into `size` pixels.
    """
    if size < SSIM_WINDOW:
        raise ValueError(f"SSIM needs frames of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got a side of {size}")
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    window = window / window.sum()
    band = torch.zeros(size, size - SSIM_WINDOW + 1, dtype=torch.float64)
    for start in range(band.shape[1]):
        band[start : start + SSIM_WINDOW, start] = window
    return band


def ssim(frames: Float[Tensor, "B T C H W"], truth: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T"]:
    """Structural similarity of each frame (Wang et al. 2004, Eq. 13), a fraction in [-1, 1].

    Args:
        frames: float [0, 1].
        truth: float [0, 1], what `frames` should be.

    Raises:
        ValueError: frames smaller than the window.
    """
    height, width = frames.shape[-2:]
    rows = gaussian_filter(height).to(frames).mT
    columns = gaussian_filter(width).to(frames)

    def blur(x: Tensor) -> Tensor:
        return rows @ (x @ columns)

    c1, c2 = SSIM_K1**2, SSIM_K2**2
    # Centred, because float32 loses the variance of a flat bright area as a difference of two near-equal numbers.
    centre = truth.mean(dim=(-2, -1), keepdim=True)
    x, y = frames - centre, truth - centre
    mean_x, mean_y = blur(x), blur(y)
    variance_x = blur(x * x) - mean_x * mean_x
    variance_y = blur(y * y) - mean_y * mean_y
    covariance = blur(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + centre, mean_y + centre
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean(dim=(-3, -2, -1)).double()
