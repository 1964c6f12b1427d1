"""The convolutional building blocks of Stage I: downsample layers, residual layers, upsample layers.

Everything here works on single frames (n, C, h, w): time is folded into the batch. The norm is GroupNorm over one
frame's features where the released code has BatchNorm. BatchNorm couples the clips of a batch, so that Eq. 12 would
hold in evaluation mode only, and statistics over a clip's time would leak later frames into earlier tokens;
GroupNorm per frame does neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from moso.training.segment import Segment


def group_norm(channels: int, group: int) -> nn.GroupNorm:
    """GroupNorm with `group` channels a group."""
    return nn.GroupNorm(channels // group, channels)


class Downsample(Segment):
    """A stride-2 layer: halves h and w (released code: conv 5x5 stride 2, norm, GELU, conv 3x3, norm, GELU, ReLU)."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, refine: bool, relu: bool, group: int) -> None:
        super().__init__()
        self.relu = relu
        # an even kernel with padding k/2 - 1 and an odd one with (k-1)/2 both give exactly half the size
        self.reduce = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=(kernel - 1) // 2)
        self.norm = group_norm(outputs, group)
        self.refine = nn.Conv2d(outputs, outputs, 3, padding=1) if refine else None
        self.refine_norm = group_norm(outputs, group) if refine else None

    def forward(self, x: Float[Tensor, "n C h w"]) -> Float[Tensor, "n D _h _w"]:
        x = F.gelu(self.norm(self.reduce(x)))
        if self.refine is not None and self.refine_norm is not None:
            x = F.gelu(self.refine_norm(self.refine(x)))
        return F.relu(x) if self.relu else x


def downsample_stack(
    inputs: int, channels: Sequence[int], *, kernel: int, refine: bool, relu: bool, group: int
) -> nn.Sequential:
    """One downsample layer for each of `channels`; none is the identity."""
    sizes = [inputs, *channels]
    layers = [Downsample(a, b, kernel=kernel, refine=refine, relu=relu, group=group) for a, b in pairwise(sizes)]
    return nn.Sequential(*layers)


class Residual(Segment):
    """h + GELU(norm(conv1x1(GELU(norm(conv3x3(h))))))  (released code, with GroupNorm for BatchNorm)."""

    def __init__(self, channels: int, hidden: int, *, group: int) -> None:
        super().__init__()
        self.gather = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.gather_norm = group_norm(hidden, group)
        self.spread = nn.Conv2d(hidden, channels, 1, bias=False)
        self.spread_norm = group_norm(channels, group)

    def forward(self, h: Float[Tensor, "n C h w"]) -> Float[Tensor, "n C h w"]:
        x = F.gelu(self.gather_norm(self.gather(h)))
        return h + F.gelu(self.spread_norm(self.spread(x)))


def residual_stack(blocks: int, channels: int, hidden: int, *, group: int) -> nn.Sequential:
    """`blocks` residual layers one after the other."""
    return nn.Sequential(*(Residual(channels, hidden, group=group) for _ in range(blocks)))


class Upsample(Segment):
    """A transposed convolution with stride 2 (Sec. 3.1.3), norm and GELU; the last one of a decoder has neither."""

    def __init__(self, inputs: int, outputs: int, *, group: int | None) -> None:
        super().__init__()
        self.grow = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
        self.norm = None if group is None else group_norm(outputs, group)

    def forward(self, x: Float[Tensor, "n C h w"]) -> Float[Tensor, "n D _H _W"]:
        x = self.grow(x)
        return x if self.norm is None else F.gelu(self.norm(x))


def resize(x: Float[Tensor, "n C h w"], factor: int) -> Float[Tensor, "n C H W"]:
    """Up_r of Eqs. 4 to 8: bilinear upsampling by `factor`."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def fold(x: Float[Tensor, "B T C H W"]) -> Float[Tensor, "BT C H W"]:
    """Time into the batch, channels last in memory (on a CPU most convolutions are several times as fast that way)."""
    return x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
