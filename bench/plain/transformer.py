"""Stage II, plainly: TransformerSO, G and M with attention written out, and logits at every position.

B batch, T frames, N codebook size, E width of embeddings, C width of the blocks, h w token grid, L positions.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from moso.tokens.clip_tokens import TokenGrids
from moso.transformer.config import TransformerConfig


class Attention(nn.Module):
    """Multi-head self-attention; the weights (n, heads, L, L) stand in memory."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.queries_keys_values = nn.Linear(config.hidden, 3 * config.hidden)
        self.out = nn.Linear(config.hidden, config.hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "n L C"]) -> Float[Tensor, "n L C"]:
        heads = "n l (three head d) -> three n head l d"
        q, k, v = rearrange(self.queries_keys_values(x), heads, three=3, head=self.heads)
        weights = self.dropout((q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1))
        out: Tensor = self.out(rearrange(weights @ v, "n head l d -> n l (head d)"))
        return out


def mlp(config: TransformerConfig) -> nn.Sequential:
    """Two linear layers with a GELU between."""
    return nn.Sequential(
        nn.Linear(config.hidden, config.mlp),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.mlp, config.hidden),
    )


class Block(nn.Module):
    """Attention among all positions, then MLP."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(config), mlp(config)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(config.hidden), nn.LayerNorm(config.hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class MotionBlock(nn.Module):
    """Attention within each frame, then across frames at each position, then MLP."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.spatial, self.temporal, self.mlp = Attention(config), Attention(config), mlp(config)
        self.spatial_norm, self.temporal_norm = nn.LayerNorm(config.hidden), nn.LayerNorm(config.hidden)
        self.mlp_norm = nn.LayerNorm(config.hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "B T P C"]) -> Float[Tensor, "B T P C"]:
        batch = len(x)
        x = rearrange(x, "b t p c -> (b t) p c")
        x = x + self.dropout(self.spatial(self.spatial_norm(x)))
        x = rearrange(x, "(b t) p c -> (b p) t c", b=batch)
        x = x + self.dropout(self.temporal(self.temporal_norm(x)))
        x = rearrange(x, "(b p) t c -> b t p c", b=batch)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Positions(nn.Module):
    """Fixed sinusoids, which are copied from ours, behind a LayerNorm."""

    fixed: Tensor

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.register_buffer("fixed", torch.zeros(places, width))
        self.norm = nn.LayerNorm(width)

    def forward(self) -> Float[Tensor, "places E"]:
        out: Tensor = self.norm(self.fixed)
        return out


class PlainTransformer(nn.Module):
    """Stage II of the paper's presets."""

    def __init__(self, config: TransformerConfig, grids: TokenGrids, codebook_size: int) -> None:
        super().__init__()
        self.grids, self.mask = grids, codebook_size
        self.embedding = nn.Embedding(codebook_size + 1, config.embedding)
        self.project = nn.Linear(config.embedding, config.hidden)
        self.output = nn.Linear(config.hidden, codebook_size)
        self.dropout = nn.Dropout(config.dropout)
        self.scene_positions = Positions(grids.scene[0] * grids.scene[1], config.embedding)
        self.object_positions = Positions(grids.object[0] * grids.object[1], config.embedding)
        self.queries = nn.Embedding(grids.frames, config.embedding)
        self.scene_object_blocks = nn.ModuleList(Block(config) for _ in range(config.scene_object_blocks))
        self.scene_object_norm = nn.LayerNorm(config.hidden)
        self.motion_positions = Positions(grids.motion[0] * grids.motion[1], config.embedding)
        self.frame_positions = Positions(grids.frames, config.embedding)
        self.motion_blocks = nn.ModuleList(MotionBlock(config) for _ in range(config.motion_blocks))
        self.motion_norm = nn.LayerNorm(config.hidden)

    def scene_object_logits(
        self, scene: Int[Tensor, "B hs ws"], object: Int[Tensor, "B ho wo"]
    ) -> tuple[Float[Tensor, "B hs ws N"], Float[Tensor, "B ho wo N"]]:
        """TransformerSO."""
        x = self.dropout(self.read(scene, object))
        for block in self.scene_object_blocks:
            x = block(x)
        logits = self.output(self.scene_object_norm(x))
        of_scene, of_object = logits.split([scene[0].numel(), object[0].numel()], dim=1)
        return of_scene.view(*scene.shape, -1), of_object.view(*object.shape, -1)

    def guidance(self, scene: Int[Tensor, "B hs ws"], object: Int[Tensor, "B ho wo"]) -> Float[Tensor, "B T C"]:
        """TransformerG."""
        tokens = self.read(scene, object)
        # without the bias, as ours
        weight = self.project.weight
        queries = F.linear(self.queries.weight, weight).expand(len(scene), -1, -1)
        x = self.dropout(torch.cat([tokens, queries], dim=1))
        for block in self.scene_object_blocks:
            x = block(x)
        return cast(Tensor, self.scene_object_norm(x))[:, tokens.shape[1] :]

    def motion_logits(
        self, motion: Int[Tensor, "B T h w"], guidance: Float[Tensor, "B T C"]
    ) -> Float[Tensor, "B T h w N"]:
        """TransformerM, at every position."""
        positions = self.motion_positions()[None] + self.frame_positions()[:, None]
        x = self.dropout(self.project(self.embedding(motion.flatten(2)) + positions))
        x = torch.cat([x, guidance[:, :, None]], dim=2)
        for block in self.motion_blocks:
            x = block(x)
        logits: Tensor = self.output(self.motion_norm(x[:, :, :-1]))
        return logits.view(*motion.shape, -1)

    def read(self, scene: Int[Tensor, "B hs ws"], object: Int[Tensor, "B ho wo"]) -> Float[Tensor, "B L C"]:
        """Scene and object tokens with their places."""
        parts = [
            self.embedding(scene.flatten(1)) + self.scene_positions(),
            self.embedding(object.flatten(1)) + self.object_positions(),
        ]
        out: Tensor = self.project(torch.cat(parts, dim=1))
        return out
