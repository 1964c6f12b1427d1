"""The perceptual loss of Stage I: LPIPS (Zhang et al. 2018), version 0.1 of the package lpips, on a frozen VGG.

Sec. 3.1.4 names a perceptual loss; the released code has LPIPS on VGG with weight 1, while Sec. 4.1 speaks of a
ResNet-50 on KITTI: the code is followed. The package brings the 1x1 heads; the backbone's weights are a file that must
be there (moso.pretrained): without them the loss is refused, never computed from a random network.

n images, C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
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
HEADS: dict[Backbone, str] = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "squeeze": "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
}
"""sha256 of the 1x1 heads that package lpips brings: they are as much of the figure as the backbone."""


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
        DataError: a file that holds something else than the network's weights, or package lpips brings other heads
            than those of v0.1.
    """
    path = pretrained.path_of(FILES[backbone])
    lpips = import_with_torchvision("lpips")
    # on "meta": start values would cost a second, and a draw from the global generator
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # lpips asks torchvision in an old way
        network = lpips.LPIPS(pretrained=False, pnet_rand=True, net=backbone, version=VERSION, verbose=False)
    heads = _verified_heads(lpips, backbone)
    _fill(network.net, pretrained.read_weights(path), path, _published_name)
    _fill(network.lins, pretrained.read_weights(heads), heads, lambda name: f"lin{name}")
    return Lpips(network).to(device)


def _published_name(name: str) -> str:
    # lpips cuts torchvision's `features` into slices and keeps the numbers: slice2.5.weight is features.5.weight.
    return f"features.{name.partition('.')[2]}"


def _verified_heads(lpips: Any, backbone: Backbone) -> Path:
    """The 1x1 heads that the installed package brings, hashed before anything opens them."""
    path = Path(str(lpips.__file__)).parent / "weights" / f"v{VERSION}" / f"{backbone}.pth"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != HEADS[backbone]:
        raise DataError(f"{path}: sha256 is {found}, that of the heads of LPIPS v{VERSION} is {HEADS[backbone]}")
    return path


def _fill(module: nn.Module, state: dict[str, Any], path: Path, published: Any) -> None:
    """Give every parameter of `module` the tensor of its published name; further tensors (a classifier) are left."""
    wanted = {name: published(name) for name in module.state_dict()}
    if missing := [name for name in wanted.values() if name not in state]:
        raise DataError(f"{path} holds no {missing[0]}: it is not the network that LPIPS takes")
    try:
        module.load_state_dict({name: state[there].clone() for name, there in wanted.items()}, assign=True)
    except RuntimeError as error:
        raise DataError(f"{path} does not fit the network that LPIPS takes: {error}") from error
