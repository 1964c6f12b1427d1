"""Layers and blocks of the three transformers.

B batch, T frames, L positions of a sequence, P positions of a frame, C width of the blocks, h w token grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from moso.training.segment import Segment, SwitchedAttention, plain_attention
from moso.transformer.config import TransformerConfig

Grid = tuple[int, int]


def pointwise(
    x: Float[Tensor, "*rows C"], weight: Float[Tensor, "D C"], bias: Tensor | None
) -> Float[Tensor, "*rows D"]:
    """x weight^T + bias over the last dimension, as a 1x1 convolution where that is faster.

    On CPUs without AMX, oneDNN's convolution beats MKL's matrix product at these sizes: by 10% on the machine it was
    written on, by a factor of two on the prototype's (embedded-run.md, "Speed on a CPU"). Not in the gradient of the
    weights: see `PointwiseConvolution`.
    """
    if x.device.type != "cpu" or x.numel() == 0:
        return F.linear(x, weight, bias)
    flat = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        if torch.is_autocast_enabled("cpu"):  # a Function of one's own is not on autocast's list
            dtype = torch.get_autocast_dtype("cpu")
            flat, weight, bias = flat.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        out: Tensor = PointwiseConvolution.apply(flat, weight, bias)
    else:
        out = _convolved(flat, weight, bias)
    return out.reshape(*x.shape[:-1], len(weight))


class PointwiseConvolution(torch.autograd.Function):
    """A 1x1 convolution of rows, whose gradient for the weights is a matrix product.

    oneDNN deals that gradient out over the images of a batch, and rows are one image: on two threads it takes three to
    four times as long as the product (docs/performance.md). The gradient for the input is as fast as the forward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "rows C"], weight: Float[Tensor, "D C"], bias: Tensor | None
    ) -> Float[Tensor, "rows D"]:
        """x weight^T + bias."""
        ctx.save_for_backward(x, weight)
        return _convolved(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "rows D"]) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Of x, weight and bias."""
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        of_image: Tensor | None = None
        if of_x:
            images = (_image(gradient), _image(x), weight[:, :, None, None])
            # No bias; stride, padding, dilation, no transposition, padding of the output, groups.
            one = (None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
            of_image = torch.ops.aten.convolution_backward(*images, *one, [True, False, False])[0]
        return (
            None if of_image is None else _matrix(of_image),
            gradient.t() @ x if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _convolved(x: Float[Tensor, "rows C"], weight: Float[Tensor, "D C"], bias: Tensor | None) -> Tensor:
    return _matrix(F.conv2d(_image(x), weight[:, :, None, None], bias))


def _image(x: Float[Tensor, "rows C"]) -> Float[Tensor, "1 C rows 1"]:
    """No copy: a (rows, C) matrix is a channels_last image of `rows` pixels."""
    return x.reshape(1, len(x), 1, -1).permute(0, 3, 1, 2)


def _matrix(image: Float[Tensor, "1 C rows 1"]) -> Float[Tensor, "rows C"]:
    return image.permute(0, 2, 3, 1).reshape(image.shape[2], -1)


class Pointwise(nn.Linear):
    """A linear layer over the last dimension, run by `pointwise`."""

    def forward(self, x: Float[Tensor, "*rows C"]) -> Float[Tensor, "*rows D"]:
        return pointwise(x, self.weight, self.bias)


def rows(x: Float[Tensor, "*shape C"], at: Int[Tensor, " n"]) -> Float[Tensor, "n C"]:
    """The rows `at` of x with its leading dimensions flattened.

    As an embedding look-up, whose gradient is many times faster on a CPU than that of indexing.
    """
    return F.embedding(at, x.reshape(-1, x.shape[-1]))


class Attention(SwitchedAttention):
    """Multi-head self-attention among the L positions of each sequence."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.qkv = Pointwise(config.hidden, 3 * config.hidden)
        self.out = Pointwise(config.hidden, config.hidden)
        size = config.hidden // config.heads
        self.query_scale = nn.Parameter(torch.ones(size)) if config.qk_norm else None
        self.key_scale = nn.Parameter(torch.ones(size)) if config.qk_norm else None

    def forward(self, x: Float[Tensor, "n L C"]) -> Float[Tensor, "n L C"]:
        # chunk, not a dimension of three: its gradient is one concatenation, that of unbind a stack and then a copy.
        parts = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (rearrange(part, "n l (head d) -> n head l d", head=self.heads) for part in parts)
        if self.query_scale is not None and self.key_scale is not None:
            q = F.rms_norm(q, (q.shape[-1],), self.query_scale)
            k = F.rms_norm(k, (k.shape[-1],), self.key_scale)
        # Measured at the sizes of sim_push: forward and backward as fast as the written-out form with two heads.
        dropout = self.dropout if self.training else 0.0
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        else:
            mixed = plain_attention(q, k, v, dropout)
        out: Tensor = self.out(rearrange(mixed, "n head l d -> n l (head d)"))
        return out


class Mlp(nn.Module):
    """Linear, activation, dropout, linear, at each position by itself."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.up = Pointwise(config.hidden, config.mlp)
        self.down = Pointwise(config.mlp, config.hidden)
        self.activation = config.activation
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "*rows C"]) -> Float[Tensor, "*rows C"]:
        hidden = self.up(x)
        hidden = F.gelu(hidden) if self.activation == "gelu" else F.relu(hidden).square()
        out: Tensor = self.down(self.dropout(hidden))
        return out


class GridConvolution(nn.Module):
    """x + a depthwise 3x3 convolution over each token grid of a sequence; positions behind the grids stay as they are.

    Zero at the start: the block then begins as the paper's.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Float[Tensor, "n L C"], grids: Sequence[Grid]) -> Float[Tensor, "n L C"]:
        runs = [(grid, len(list(run))) for grid, run in groupby(grids)]  # equal neighbours in one convolution
        sizes = [count * height * width for (height, width), count in runs]
        # split, not slices: its gradient is one concatenation, theirs a zero-filled tensor each.
        *parts, rest = x.split([*sizes, x.shape[1] - sum(sizes)], dim=1)
        mixed = []
        for part, ((height, _), count) in zip(parts, runs, strict=True):
            image = rearrange(part, "n (k h w) c -> (n k) c h w", k=count, h=height)
            mixed.append(part + rearrange(self.kernel(image), "(n k) c h w -> n (k h w) c", k=count))
        return torch.cat([*mixed, rest], dim=1)


class FrameConvolution(nn.Module):
    """x + a depthwise convolution over 3 frames at each position; zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(width, width, (3, 1), padding=(1, 0), groups=width)

    def forward(self, x: Float[Tensor, "B T P C"]) -> Float[Tensor, "B T P C"]:
        mixed: Tensor = self.kernel(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + mixed


class Block(Segment):
    """A bidirectional block of TransformerSO and G, or of the single network: attention among all, then MLP."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.local = GridConvolution(config.hidden) if config.depthwise else None
        self.attention, self.mlp = Attention(config), Mlp(config)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(config.hidden), nn.LayerNorm(config.hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "B L C"], grids: Sequence[Grid], only: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "B L C"] | Float[Tensor, "n C"]:
        """One step of x; `grids` are the token grids that lie first in the sequence, in order.

        With `only`, just those rows of the (B L) positions.
        """
        if self.local is not None:
            x = self.local(x, grids)
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        if only is not None:
            x = rows(x, only)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class FactorisedBlock(Segment):
    """A block of TransformerM: attention within each frame, then across frames at each position, then MLP."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.local = GridConvolution(config.hidden) if config.depthwise else None
        self.frames = FrameConvolution(config.hidden) if config.temporal_depthwise else None
        self.spatial, self.temporal, self.mlp = Attention(config), Attention(config), Mlp(config)
        self.spatial_norm, self.temporal_norm = nn.LayerNorm(config.hidden), nn.LayerNorm(config.hidden)
        self.mlp_norm = nn.LayerNorm(config.hidden)
        self.dropout = nn.Dropout(config.dropout)

    def within_frames(self, x: Float[Tensor, "B T P C"], grid: Grid) -> Float[Tensor, "B T P C"]:
        """The spatial part: each frame's P positions, by themselves; `grid` lies first, the guidance behind it."""
        batch = len(x)
        x = rearrange(x, "b t p c -> (b t) p c")
        if self.local is not None:
            x = self.local(x, [grid])
        x = x + self.dropout(self.spatial(self.spatial_norm(x)))
        return rearrange(x, "(b t) p c -> b t p c", b=batch)

    def across_frames(self, x: Float[Tensor, "B T P C"]) -> Float[Tensor, "B T P C"]:
        """The temporal part: each position's T frames, by themselves."""
        batch = len(x)
        if self.frames is not None:
            x = self.frames(x)
        sequences = rearrange(self.temporal_norm(x), "b t p c -> (b p) t c")
        return x + rearrange(self.dropout(self.temporal(sequences)), "(b p) t c -> b t p c", b=batch)

    def forward(
        self, x: Float[Tensor, "B T P C"], grid: Grid, only: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "B T P C"] | Float[Tensor, "n C"]:
        """One step of x; with `only`, just those rows of the (B T P) positions, which spares the rest the MLP."""
        x = self.across_frames(self.within_frames(x, grid))
        if only is not None:
            x = rows(x, only)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


def initialise(module: nn.Module) -> None:
    """Start values: normal of 0.64 / sqrt(inputs) for matrices, zero for biases, local convolutions and branch outputs.

    0.64 / sqrt(1024) is the released code's 0.02 at the paper's width. Branches that end in zero make every block the
    identity at the start, which Muon's large first steps need; they leave zero at the first step. No paper source.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.64 / part.in_features**0.5)
        if isinstance(part, (GridConvolution, FrameConvolution)):
            nn.init.zeros_(part.kernel.weight)
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
        if isinstance(part, (nn.Linear, nn.Conv2d)) and part.bias is not None:
            nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, Attention):
            nn.init.zeros_(part.out.weight)
        if isinstance(part, Mlp):
            nn.init.zeros_(part.down.weight)
