"""The perceptual loss's network without its weights: it takes the same memory and time."""

from __future__ import annotations

import warnings

import torch

from moso.torchvision_import import import_with_torchvision
from moso.vqvae.perceptual import VERSION, Lpips


def lpips_without_weights(device: torch.device) -> Lpips:
    """LPIPS on VGG with start values: what it says means nothing.

    Raises:
        MosoError: lpips or torchvision is not installed.
    """
    lpips = import_with_torchvision("lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips asks torchvision in an old way
        network = lpips.LPIPS(pretrained=False, pnet_rand=True, net="vgg", version=VERSION, verbose=False)
    return Lpips(network).to(device)
