"""How a frame's feature is made of the components': the merge module (Eqs. 3 to 8), where motion decides, place by
place, how much of the scene and how much of the object a frame shows; or their sum (ablations).

B clips, n frames of each (Bn: folded together), C channels, h w the scene grid. The paper's formulas are for factors
8, 16, 32, each twice the last; as in the released code there are three scales, each half of the last, for any factors:
a component is brought down to a coarser scale by stride-2 layers, up to a finer one by bilinear interpolation. With
4, 8, 16 or 8, 16, 32 that is Eqs. 3 to 5 to the letter.
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


def bring_down(config: VQVAEConfig, factor: int) -> nn.ModuleDict:
    """Stride-2 layers that take each component there is to the grid of `factor`; none where it is not finer."""
    layers = {}
    for name in (name for name in COMPONENTS if name in config.components):
        count = max(0, (factor // config.factor(name)).bit_length() - 1)
        layers[name] = downsample_stack(
            config.channels,
            [config.channels] * count,
            kernel=config.merge_kernel,
            refine=config.stem_refine,
            relu=config.stem_relu,
            group=config.norm_group,
        )
    return nn.ModuleDict(layers)


def bring_up(config: VQVAEConfig, factor: int) -> dict[str, int]:
    """By how much each component there is must be interpolated to reach the grid of `factor`; 1 where it is not
    coarser."""
    return {name: max(1, config.factor(name) // factor) for name in config.components}


class Mix(nn.Module):
    """L of Eqs. 3 to 5: conv1x1, ReLU, conv1x1 on the three components side by side (released code).

    The first convolution is applied to each component by itself, with its part of the weights, and the results are
    added: the same sum, but scene and object are done once a clip instead of once a frame, and a component that is to
    be brought up is convolved first, on the coarse grid (a 1x1 convolution and an interpolation whose weights add up to
    one may change places).
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
        self.object_up = config.object_factor // config.scene_factor
        self.downs, self.mixes = nn.ModuleList(), nn.ModuleList()
        for scale in range(SCALES):
            factor = config.scene_factor * 2**scale
            self.downs.append(bring_down(config, factor))
            self.mixes.append(Mix(channels, bring_up(config, factor)))
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


class Sum(nn.Module):
    """The components' features, brought to each of the config's scales and added there, the scales then added from
    coarse to fine as in Eqs. 6 and 7; with one scale and nothing finer to bring down it has no parameters.

    Three scales for motion and content ("summing frame-wise features with content features at multi scales", Sec.
    C.2; the paper gives no more, the scales and their layers are the merge module's); one for the full decomposition
    without its merge module (Table 6) and for motion alone, of which it is the identity.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        factors = [config.finest_factor * 2**scale for scale in range(config.scales)]
        self.downs = nn.ModuleList(bring_down(config, factor) for factor in factors)
        self.ups = [bring_up(config, factor) for factor in factors]

    def forward(
        self, *, motion: Float[Tensor, "Bn C _c _d"], **still: Float[Tensor, "B C _a _b"]
    ) -> Float[Tensor, "Bn C h w"]:
        """`still`: scene and object, those there are."""
        # adding and resizing are linear, so each component is summed over the scales by itself, scene and object once
        # a clip instead of once a frame
        moving = self._over_scales("motion", motion)
        clips = [self._over_scales(name, feature) for name, feature in still.items()]
        return each_frame(torch.add, moving, sum(clips[1:], clips[0])) if clips else moving

    def _over_scales(self, name: str, feature: Float[Tensor, "n C _h _w"]) -> Float[Tensor, "n C h w"]:
        total: Tensor | None = None
        for downs, ups in zip(reversed(self.downs), reversed(self.ups), strict=True):
            assert isinstance(downs, nn.ModuleDict)
            here = resize(downs[name](feature), ups[name])
            total = here if total is None else here + resize(total, 2)
        assert total is not None
        return total
