"""Encoders of Stage I (Sec. 3.1.2): one grid of features a clip for scene and object, one a frame for motion.

B batch, T frames, n frames in a row of whole working pools, C channels, H W pixels, h w token grid, D code dimension.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from moso.training.segment import SwitchedAttention, plain_attention
from moso.vqvae.config import VQVAEConfig
from moso.vqvae.layers import downsample_stack, fold, group_norm, residual_stack

POSITION_SCALE = 0.02
"""Standard deviation of position embeddings before training (the usual one of transformers; not from the paper)."""
FEW_FRAMES = 4
"""Up to this many frames a pool, attention is written out: calls of matmul on 2x2 matrices cost more than their
work."""


def stem_channels(config: VQVAEConfig, factor: int) -> list[int]:
    """Output channels of the downsample layers that reach `factor`."""
    layers = factor.bit_length() - 1
    return [*config.stem_channels, *[config.channels] * layers][:layers]


def position_embedding(*shape: int) -> nn.Parameter:
    """A learned embedding of positions, small at the start."""
    return nn.Parameter(torch.empty(*shape).normal_(std=POSITION_SCALE))


class StillEncoder(nn.Module):
    """Scene or object encoder: a whole clip -> one grid of features.

    Downsample layers a frame, the T frames' features side by side along channels, a projection of them to C (the
    temporal compressing layer; released code: conv 3x3, norm, GELU), a residual stack, a 1x1 convolution to the code
    dimension.
    """

    def __init__(self, config: VQVAEConfig, factor: int) -> None:
        super().__init__()
        stem, group, channels = stem_channels(config, factor), config.norm_group, config.channels
        self.frames = config.frames
        self.stem = downsample_stack(
            3, stem, kernel=config.stem_kernel, refine=config.stem_refine, relu=config.stem_relu, group=group
        )
        self.compress = nn.Conv2d(
            config.frames * stem[-1], channels, config.compress_kernel, padding=config.compress_kernel // 2
        )
        self.compress_norm = group_norm(channels, group)
        self.positions = position_embedding(channels, *config.grid(factor)) if config.positions else None
        self.residuals = residual_stack(config.encoder_blocks, channels, config.residual_channels, group=group)
        self.to_code = nn.Conv2d(channels, config.code_dimension, 1)

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B D h w"]:
        return self.join(self.frame_features(video))

    def frame_features(self, video: Float[Tensor, "B n C H W"]) -> Float[Tensor, "B n F h w"]:
        """Features of each frame by itself: of a frame that occurs twice they are needed once."""
        return self.stem(fold(video)).unflatten(0, video.shape[:2])

    def join(self, features: Float[Tensor, "B T F h w"]) -> Float[Tensor, "B D h w"]:
        """The clip's one grid from the features of its T frames."""
        # (B, h, w, T, F): channels stay innermost, so that the joined tensor is channels_last without a further copy
        x = features.permute(0, 3, 4, 1, 2).flatten(3).permute(0, 3, 1, 2)
        x = F.gelu(self.compress_norm(self.compress(x)))
        if self.positions is not None:
            x = x + self.positions
        return self.to_code(self.residuals(x))


class TemporalAttention(SwitchedAttention):
    """Self-attention over the frames of each working pool, at every spatial position (Eq. 1); nothing crosses pools.

    Released code: 4 heads of 64, no bias, the residual and LayerNorm after it, no positional encoding.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(channels, 3 * channels, bias=False)
        self.join = nn.Linear(channels, channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "pools frames C h w"]) -> Float[Tensor, "pools frames C h w"]:
        x = x.permute(0, 1, 3, 4, 2)  # channels innermost; no copy where x is channels_last
        heads = self.queries_keys_values(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = heads.unbind(-3)  # (pools, frames, h, w, heads, channels of a head)
        if not self.fused:
            mixed = plain_attention(*(part.movedim(1, -2) for part in (q, k, v))).movedim(-2, 1)
        else:
            mixed = _attend_few(q, k, v) if x.shape[1] <= FEW_FRAMES else _attend(q, k, v)
        return self.norm(x + self.join(mixed.flatten(-2))).permute(0, 1, 4, 2, 3)


def _attend_few(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over dimension 1, each pair of frames by elementwise products."""
    frames = q.shape[1]
    if frames == 1:
        return v
    scaled = q * q.shape[-1] ** -0.5
    scores = torch.stack([(scaled * k[:, j : j + 1]).sum(-1) for j in range(frames)], dim=-1)
    weights = scores.softmax(-1)
    return torch.stack([weights[..., j : j + 1] * v[:, j : j + 1] for j in range(frames)]).sum(0)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same through scaled_dot_product_attention."""
    q, k, v = (x.movedim(1, -2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).movedim(-2, 1)


class MotionEncoder(nn.Module):
    """Motion encoder: frame differences of whole working pools -> a grid of features a frame.

    It takes any number of pools, since nothing crosses them: training may encode a subset.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        stem, group, channels = stem_channels(config, config.motion_factor), config.norm_group, config.channels
        grid = config.grid(config.motion_factor)
        self.pool_frames = config.pool_frames
        self.stem = downsample_stack(
            3, stem, kernel=config.stem_kernel, refine=config.stem_refine, relu=config.stem_relu, group=group
        )
        self.lift = nn.Conv2d(stem[-1], channels, 1) if stem[-1] != channels else nn.Identity()
        # places, and the order inside a pool; never the pool's place in the clip: all pools are encoded alike
        self.positions = position_embedding(config.pool_frames, channels, *grid) if config.positions else None
        self.attention = TemporalAttention(channels, config.attention_heads)
        self.residuals = residual_stack(config.encoder_blocks, channels, config.residual_channels, group=group)
        self.to_code = nn.Conv2d(channels, config.code_dimension, 1)

    def forward(self, motion: Float[Tensor, "B n C H W"]) -> Float[Tensor, "B n D h w"]:
        batch = len(motion)
        x = self.lift(self.stem(fold(motion))).unflatten(0, (-1, self.pool_frames))
        if self.positions is not None:
            x = x + self.positions
        x = self.attention(x).flatten(0, 1)
        return self.to_code(self.residuals(x)).unflatten(0, (batch, -1))
