"""TransformerM (Eq. 13): the distribution of the masked motion tokens.

B batch, T frames, h w motion grid, N codebook size, V = N + 1 tokens with the mask, C width of the blocks.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from moso.tokens.clip_tokens import TokenGrids
from moso.transformer.config import TransformerConfig
from moso.transformer.content import copying, towards
from moso.transformer.embedding import Positions, TokenTable, Vocabulary
from moso.transformer.layers import FactorisedBlock
from moso.transformer.scene_object import Guidance


class MotionTransformer(nn.Module):
    """Blocks of factorised attention over T frames of h w motion positions and one guidance position each."""

    def __init__(self, config: TransformerConfig, grids: TokenGrids) -> None:
        super().__init__()
        self.grid = grids.motion
        self.positions = Positions(config, grids.motion)
        self.frame_positions = Positions(config, (grids.frames, 1))
        self.blocks = nn.ModuleList(FactorisedBlock(config) for _ in range(config.motion_blocks))
        self.norm = nn.LayerNorm(config.hidden)
        self.ages = nn.Embedding(grids.frames, config.hidden) if config.show_nearest else None
        self.copy = copying(config) if config.motion_copy_bias else None

    def forward(
        self,
        vocabulary: Vocabulary,
        table: TokenTable,
        motion: Int[Tensor, "B T h w"],
        guidance: Guidance,
        asked: Int[Tensor, " n"],
    ) -> Float[Tensor, "n N"]:
        """Logits at the n positions `asked`.

        Args:
            vocabulary, table: the shared embeddings and output layer, and the token vectors of this step.
            motion: tokens in [0, N); N where masked.
            guidance: of the same clips.
            asked: indices into the flattened `motion`; nothing is computed for the others behind the last attention.
        """
        places = self.grid[0] * self.grid[1]
        flat = motion.flatten(2)
        positions = vocabulary.place(self.positions()[None] + self.frame_positions()[:, None])
        x = table.look_up(flat) + positions
        near, age = nearest_known(flat, vocabulary.mask)
        if self.ages is not None:
            masked = (flat == vocabulary.mask)[..., None]
            x = x + (table.look_up(near) + self.ages(age)) * masked
        if guidance.places is not None:
            x = x + guidance.places[:, None]
        x = torch.cat([vocabulary.dropout(x), guidance.frames[:, :, None].to(x.dtype)], dim=2)

        # The guidance position lies behind the h w others of its frame.
        at = asked + asked.div(places, rounding_mode="floor")
        for block in self.blocks[:-1]:
            x = block(x, self.grid)
        x = self.norm(self.blocks[-1](x, self.grid, only=at))
        logits = vocabulary.logits(x)
        return logits if self.copy is None else towards(logits, near.flatten()[asked], self.copy(x))


def nearest_known(motion: Int[Tensor, "B T p"], mask: int) -> tuple[Int[Tensor, "B T p"], Int[Tensor, "B T p"]]:
    """For each position the token at its place in the nearest earlier frame where it is known, and how many frames ago.

    `mask` and 0 where there is none.
    """
    frame = torch.arange(motion.shape[1], device=motion.device)[None, :, None]
    last = torch.where(motion == mask, -1, frame).cummax(dim=1).values
    # Strictly earlier: a known position's own token must not answer for it.
    before = torch.cat([torch.full_like(last[:, :1], -1), last[:, :-1]], dim=1)
    near = motion.gather(1, before.clamp_min(0))
    found = before >= 0
    return torch.where(found, near, mask), torch.where(found, frame - before, 0)


def around(codes: Float[Tensor, "B H W C"], grid: tuple[int, int]) -> Float[Tensor, "B hw rsC"]:
    """What a finer grid holds around each place of `grid`, side by side along channels."""
    return rearrange(codes, "b (h r) (w s) c -> b (h w) (r s c)", h=grid[0], w=grid[1])
