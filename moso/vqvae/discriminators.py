"""The discriminators of Stage I (Sec. 3.1.4, C.4, Table 10): PatchGANs, which tell true from drawn patch by patch.

The video discriminator looks at a whole clip, its frames stacked along channels; the image discriminator at single
frames. They are the same network on other inputs. Its layout is pix2pix's (Isola et al. 2017), which "PatchGAN" names:
4x4 convolutions, stride 2 in the first `layers`, LeakyReLU 0.2, start values of deviation 0.02. Deviation: GroupNorm
in the place of its BatchNorm, for the reason that moso.vqvae.layers gives; BatchNorm would also let it compare the
clips of a batch.

B clips, T frames, C channels, H W pixels, h w patches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from moso.config import check_choices
from moso.errors import ConfigError
from moso.training.config import OptimizerConfig

SLOPE = 0.2
START_DEVIATION = 0.02
NORM_GROUP = 8
"""Channels a group of GroupNorm, as in the VQVAE."""
MOST_WIDENING = 8
"""Channels grow to `channels` x 8 at most (pix2pix)."""


@dataclass(frozen=True)
class AdversarialConfig:
    """The hinge adversarial loss; off by default.

    Attributes:
        video: weight of the video discriminator's term; the paper: 0.1 (C.4). While it is on, whole clips are drawn,
            whatever objective.decode_pools says.
        image: weight of the image discriminator's term; the paper: 0, with 0.05 and 0.1 as ablations (Table 10).
        from_step: the first step, from 0, of both; the paper: 50k. Before it they are not trained either.
        weight: "fixed": the weights as they stand. "adaptive": each term is besides multiplied by the ratio of the
            gradients' norms of reconstruction and adversarial term at the decoder's last layer, at most 1e4 (VQGAN,
            Esser et al. 2021). The paper names no adaptation, so "fixed" is the default.
        optimizer: each discriminator's own. No source: the generator's settings of the paper.
        channels: of its first layer (pix2pix: 64).
        layers: stride-2 layers (pix2pix: 3, patches of 70 pixels).
    """

    video: float = 0.0
    image: float = 0.0
    from_step: int = 50_000
    weight: Literal["fixed", "adaptive"] = "fixed"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    channels: int = 64
    layers: int = 3

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("video", "image"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "a weight must not be negative", "0 leaves the term out")
        if self.from_step < 0:
            raise ConfigError("from_step", self.from_step, "must not be negative", "0 begins with the training")
        if self.channels < 1 or self.channels % NORM_GROUP:
            near = max(NORM_GROUP, self.channels // NORM_GROUP * NORM_GROUP)
            raise ConfigError("channels", self.channels, f"must be a multiple of {NORM_GROUP}", f"{near} would fit")
        if self.layers < 1:
            raise ConfigError("layers", self.layers, "must be at least 1", "3 is usual")


class PatchDiscriminator(nn.Module):
    """One logit a patch, high for true pictures.

    Args:
        inputs: channels of what it looks at, 3 for frames and T * 3 for clips.
        size: (H, W), to refuse pictures too small for its layers.

    Raises:
        ConfigError: pictures of `size` leave no patch.
    """

    def __init__(self, inputs: int, channels: int, layers: int, size: tuple[int, int]) -> None:
        super().__init__()
        if (smallest := min(size) >> layers) < 3:
            fitting = max((n for n in range(1, layers) if min(size) >> n >= 3), default=None)
            raise ConfigError(
                "loss.adversarial.layers",
                layers,
                f"frames of {size[0]} x {size[1]} pixels are {smallest} wide behind them, and 3 are needed",
                f"{fitting} or less would fit" if fitting else "such frames are too small for a discriminator",
            )
        sizes = [channels * min(2**i, MOST_WIDENING) for i in range(layers + 1)]
        stack: list[nn.Module] = [nn.Conv2d(inputs, channels, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        for i in range(layers):
            stride = 2 if i < layers - 1 else 1
            stack += [
                nn.Conv2d(sizes[i], sizes[i + 1], 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(sizes[i + 1] // NORM_GROUP, sizes[i + 1]),
                nn.LeakyReLU(SLOPE),
            ]
        self.layers = nn.Sequential(*stack, nn.Conv2d(sizes[-1], 1, 4, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=START_DEVIATION)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pictures: Float[Tensor, "n C H W"]) -> Float[Tensor, "n h w"]:
        """Logits of pictures with values about [0, 1]."""
        logits: Tensor = self.layers(pictures * 2 - 1)
        return logits[:, 0]


def hinge_real_or_drawn(real: Float[Tensor, "*patches"], drawn: Float[Tensor, "*patches"]) -> Float[Tensor, ""]:
    """The discriminator's loss: half of relu(1 - real) + relu(1 + drawn), mean over patches. 1 where it knows nothing
    and says 0, 0 where all true patches are above 1 and all drawn ones below -1."""
    return (F.relu(1 - real).mean() + F.relu(1 + drawn).mean()) / 2


def hinge_fool(drawn: Float[Tensor, "*patches"]) -> Float[Tensor, ""]:
    """The generator's loss: minus the mean logit of what it drew."""
    return -drawn.mean()
