"""The merge module (Eqs. 3 to 8): motion decides, place by place, how much of the scene and how much of the object a
frame shows.

B clips, n frames of each (Bn: folded together), C channels, h w the scene grid. The paper's formulas are for factors
8, 16, 32, each twice the last; as in the released code there are
three scales, each half of the last, for any factors: a component is brought down to a coarser scale by stride-2
layers, up to a finer one by bilinear interpolation. With 4, 8, 16 or 8, 16, 32 that is Eqs. 3 to 5 to the letter.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from moso.vqvae.config import SCALES, VQVAEConfig
from moso.vqvae.layers import downsample_stack, resize

COMPONENTS = ("motion", "scene", "object")
"""In the order in which Eqs. 3 to 5 concatenate them."""


class Mix(nn.Module):
    """L of Eqs. 3 to 5: conv1x1, ReLU, conv1x1 on the three components side by side (released code).

    The first convolution is applied to each component by itself, with its part of the weights, and the results are
        added: the same sum, but scene and object are done once a clip instead of once a frame, and a component that
            is to be brought up is convolved first, on the coarse grid (a 1x1
    convolution and an interpolation whose weights add up to one may change places).
    """

    def __init__(self, channels: int, ups: dict[str, int]) -> None:
        super().__init__()
        self.gather = nn.Conv2d(3 * channels, channels, 1)
        self.spread = nn.Conv2d(channels, channels, 1)
        self.ups = ups

    def forward(
        self, motion: Float[Tensor, "Bn C a b"], scene: Float[Tensor, "B C c d"], object: Float[Tensor, "B C e f"]
    ) -> Float[Tensor, "Bn C h w"]:
        weights = dict(zip(COMPONENTS, self.gather.weight.chunk(3, dim=1), strict=True))
        moving = resize(F.conv2d(motion, weights["motion"]), self.ups["motion"])
        still = resize(F.conv2d(scene, weights["scene"], self.gather.bias), self.ups["scene"])
        still = still + resize(F.conv2d(object, weights["object"]), self.ups["object"])
        return self.spread(F.relu(each_frame(torch.add, moving, still)))


def each_frame(operation: Callable[[Tensor, Tensor], Tensor], moving: Tensor, still: Tensor) -> Tensor:
    """`operation`(frames of a clip, the clip's own features), broadcast over the clip's frames: (B*n, …) and (B, …)
    -> (B*n, …)."""
    framed = moving.unflatten(0, (len(still), -1))
    return operation(framed, still[:, None]).flatten(0, 1)


class MergeModule(nn.Module):
    """Eqs. 3 to 8."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        channels = config.channels
        factors = {"motion": config.motion_factor, "scene": config.scene_factor, "object": config.object_factor}
        self.object_up = config.object_factor // config.scene_factor
        self.downs, self.mixes = nn.ModuleList(), nn.ModuleList()
        for scale in range(SCALES):
            factor = config.scene_factor * 2**scale
            downs = {
                name: downsample_stack(
                    channels,
                    [channels] * max(0, (factor // own).bit_length() - 1),
                    kernel=config.merge_kernel,
                    refine=config.stem_refine,
                    relu=config.stem_relu,
                    group=config.norm_group,
                )
                for name, own in factors.items()
            }
            self.downs.append(nn.ModuleDict(downs))
            self.mixes.append(Mix(channels, {name: max(1, own // factor) for name, own in factors.items()}))
        self.weigh = nn.Conv2d(channels, channels, 1)

    def forward(
        self, scene: Float[Tensor, "B C h w"], object: Float[Tensor, "B C a b"], motion: Float[Tensor, "Bn C c d"]
    ) -> Float[Tensor, "Bn C h w"]:
        features = {"motion": motion, "scene": scene, "object": object}

        def mixed(scale: int) -> Tensor:
            downs = self.downs[scale]
            assert isinstance(downs, nn.ModuleDict)
            mix: Tensor = self.mixes[scale](**{name: downs[name](value) for name, value in features.items()})
            return mix

        finest, middle, coarsest = range(SCALES)
        joined = mixed(middle) + resize(mixed(coarsest), 2)  # (6)
        share = torch.sigmoid(self.weigh(mixed(finest) + resize(joined, 2)))  # (7)
        up = resize(object, self.object_up)
        # (8), w z^s + (1 - w) z^o, with one product instead of two
        return each_frame(torch.add, each_frame(torch.mul, share, scene - up), up)
