"""The perceptual loss of Stage I: LPIPS (Zhang et al. 2018), version 0.1 of the package lpips, on a frozen VGG.

Sec. 3.1.4 names a perceptual loss; the released code has LPIPS on VGG with weight 1, while Sec. 4.1 speaks of a
ResNet-50 on KITTI: the code is followed. The package brings the 1x1 heads; the backbone's weights are a file that must
be there (moso.pretrained): without them the loss is refused, never computed from a random network.

n images, C channels, H W pixels.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moso import pretrained
from moso.errors import DataError
from moso.torchvision_import import import_with_torchvision

Backbone = Literal["vgg", "alex", "squeeze"]
FILES: dict[Backbone, str] = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet"}
"""lpips' name of a backbone -> its name in moso.pretrained."""
VERSION = "0.1"


class Lpips(nn.Module):
    """LPIPS of image pairs in [0, 1]; frozen, in evaluation mode for good. Gradients reach the images alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Lpips:
        """Stays in evaluation mode: the heads have dropout."""
        return super().train(False)

    def forward(self, a: Float[Tensor, "n 3 H W"], b: Float[Tensor, "n 3 H W"]) -> Float[Tensor, " n"]:
        """Distance of each pair; the network takes [-1, 1]."""
        distance: Tensor = self.network(a * 2 - 1, b * 2 - 1)
        return distance.flatten()


def load_lpips(backbone: Backbone = "vgg", device: torch.device | str = "cpu") -> Lpips:
    """LPIPS with the published weights.

    Raises:
        WeightsError: the backbone's file is missing or another one; the message says how to get it.
        MosoError: lpips or torchvision is not installed.
        DataError: a file that holds something else than the network's weights.
    """
    path = pretrained.path_of(FILES[backbone])
    lpips = import_with_torchvision("lpips")
    # on "meta": start values would cost a second, and a draw from the global generator
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # lpips asks torchvision in an old way
        network = lpips.LPIPS(pretrained=False, pnet_rand=True, net=backbone, version=VERSION, verbose=False)
    heads = Path(str(lpips.__file__)).parent / "weights" / f"v{VERSION}" / f"{backbone}.pth"
    _fill(network.net, _state(path), path, _published_name)
    _fill(network.lins, _state(heads), heads, lambda name: f"lin{name}")
    return Lpips(network).to(device)


def _published_name(name: str) -> str:
    # lpips cuts torchvision's `features` into slices and keeps the numbers: slice2.5.weight is features.5.weight.
    return f"features.{name.partition('.')[2]}"


def _state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on a file that is no checkpoint
        raise DataError(f"{path} cannot be read as weights: {error}") from error
    return state


def _fill(module: nn.Module, state: dict[str, Any], path: Path, published: Any) -> None:
    """Give every parameter of `module` the tensor of its published name; further tensors (a classifier) are left."""
    wanted = {name: published(name) for name in module.state_dict()}
    if missing := [name for name in wanted.values() if name not in state]:
        raise DataError(f"{path} holds no {missing[0]}: it is not the network that LPIPS takes")
    try:
        module.load_state_dict({name: state[there].clone() for name, there in wanted.items()}, assign=True)
    except RuntimeError as error:
        raise DataError(f"{path} does not fit the network that LPIPS takes: {error}") from error
