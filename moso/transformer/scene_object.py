"""TransformerSO (Eq. 11) and TransformerG: one set of weights with two uses.

B batch, T frames, N codebook size, V = N + 1 tokens with the mask, C width of the blocks, L positions of scene and
object, h w token grid (s scene, o object, m motion), g frames whose motion tokens are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from moso.errors import ConfigError
from moso.tokens.clip_tokens import TokenGrids
from moso.training.optimizer import mark_for
from moso.transformer.config import TransformerConfig
from moso.transformer.embedding import Positions, Vocabulary, look_up
from moso.transformer.layers import Block, Pointwise


@dataclass(frozen=True)
class Guidance:
    """What TransformerM is told of a clip's content.

    Attributes:
        frames: the guidance embeddings (B, T, C), the outputs of TransformerG at its frame queries.
        places: (B, hm wm, C), added to the motion positions of every frame; None without the settings show_*.
    """

    frames: Float[Tensor, "B T C"]
    places: Float[Tensor, "B p C"] | None = None


class SceneObjectTransformer(nn.Module):
    """Bidirectional blocks over the scene and object tokens of a clip.

    As TransformerSO it reads those of the pseudo clip and predicts those of the target clip; as TransformerG it reads
    those of the target clip (true or predicted) and T learned frame queries. All blocks and embeddings serve both.
    """

    def __init__(self, config: TransformerConfig, grids: TokenGrids, given_motion_frames: int) -> None:
        super().__init__()
        self.grids, self.merged = grids, config.merged_scene_object
        if self.merged and grids.scene != grids.object:
            raise ConfigError(
                "merged_scene_object",
                True,
                f"needs equal grids, scene has {grids.scene} and object {grids.object}",
                "set it to false",
            )
        self.token_grids = [grids.scene] if self.merged else [grids.scene, grids.object]
        self.scene_positions = Positions(config, grids.scene)
        self.object_positions = None if self.merged else Positions(config, grids.object)
        self.queries = nn.Embedding(grids.frames, config.embedding)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.scene_object_blocks))
        self.norm = nn.LayerNorm(config.hidden)
        # Summed embeddings of a scene and an object token must not commute, and one position must answer two questions.
        self.as_object = Pointwise(config.hidden, config.hidden, bias=False) if self.merged else None
        self.answers = Pointwise(config.hidden, 2 * config.hidden) if self.merged else None
        self.copy = nn.ModuleList(copying(config) for _ in range(2)) if config.copy_bias else None
        self.given = Pointwise(given_motion_frames * config.hidden, config.hidden) if config.show_given_motion else None

    def embed(
        self,
        vocabulary: Vocabulary,
        table: Float[Tensor, "V C"],
        scene: Int[Tensor, "B hs ws"],
        object: Int[Tensor, "B ho wo"],
        given_motion: Int[Tensor, "B g hm wm"] | None,
    ) -> Float[Tensor, "B L C"]:
        """The input of the blocks at the scene and object positions."""
        scene_in = look_up(table, scene.flatten(1)) + vocabulary.place(self.scene_positions())
        object_table = table if self.as_object is None else self.as_object(table)
        object_in = look_up(object_table, object.flatten(1))
        if self.object_positions is None:
            parts = [scene_in + object_in]
        else:
            parts = [scene_in, object_in + vocabulary.place(self.object_positions())]
        if self.given is not None:
            if given_motion is None:
                raise ValueError("show_given_motion needs the given motion tokens")
            shown = self.given(rearrange(look_up(table, given_motion), "b g h w c -> b h w (g c)"))
            pairs = zip(parts, self.token_grids, strict=True)
            parts = [part + enlarge(shown, grid) for part, grid in pairs]
        return torch.cat(parts, dim=1)

    def predict(
        self,
        vocabulary: Vocabulary,
        table: Float[Tensor, "V C"],
        pseudo_scene: Int[Tensor, "B hs ws"],
        pseudo_object: Int[Tensor, "B ho wo"],
        given_motion: Int[Tensor, "B g hm wm"] | None = None,
    ) -> tuple[Float[Tensor, "B hs ws N"], Float[Tensor, "B ho wo N"]]:
        """TransformerSO, Eq. 11: logits of the target clip's scene and object tokens."""
        x = vocabulary.dropout(self.embed(vocabulary, table, pseudo_scene, pseudo_object, given_motion))
        for block in self.blocks:
            x = block(x, self.token_grids)
        x = self.norm(x)
        sizes = [pseudo_scene[0].numel(), pseudo_object[0].numel()]
        parts = x.split(sizes, dim=1) if self.answers is None else self.answers(x).chunk(2, dim=-1)
        logits = []
        for i, (part, pseudo) in enumerate(zip(parts, (pseudo_scene, pseudo_object), strict=True)):
            out = vocabulary.logits(part)
            if self.copy is not None:
                out = towards(out, pseudo.flatten(1), self.copy[i](part))
            logits.append(out.view(*pseudo.shape, vocabulary.size))
        return logits[0], logits[1]

    def guide(
        self,
        vocabulary: Vocabulary,
        table: Float[Tensor, "V C"],
        scene: Int[Tensor, "B hs ws"],
        object: Int[Tensor, "B ho wo"],
        given_motion: Int[Tensor, "B g hm wm"] | None = None,
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B L C"]]:
        """TransformerG: the outputs at the frame queries (the guidance embeddings) and at the tokens' positions."""
        tokens = self.embed(vocabulary, table, scene, object, given_motion)
        queries = vocabulary.place(self.queries.weight).expand(len(tokens), -1, -1)
        x = vocabulary.dropout(torch.cat([tokens, queries], dim=1))
        for block in self.blocks:
            x = block(x, self.token_grids)
        at_tokens, at_queries = self.norm(x).split([tokens.shape[1], queries.shape[1]], dim=1)
        return at_queries, at_tokens


def copying(config: TransformerConfig) -> nn.Linear:
    """The learned, place-dependent part of a bias towards copying: one number from a position's features."""
    layer = nn.Linear(config.hidden, 1)
    mark_for(cast(nn.Parameter, layer.weight), "adamw")  # a vector
    return layer


def towards(
    logits: Float[Tensor, "*rows N"], tokens: Int[Tensor, "*rows"], bias: Float[Tensor, "*rows 1"]
) -> Float[Tensor, "*rows N"]:
    """`logits` with log(N) + `bias` added at `tokens`; a mask token (N) gets none.

    log N: with equal logits otherwise, copying starts with half of the probability.
    """
    size = logits.shape[-1]
    known = tokens < size
    added = (bias + torch.tensor(float(size)).log()) * known[..., None]
    return logits.scatter_add(-1, torch.where(known, tokens, 0)[..., None], added.to(logits.dtype))


def enlarge(x: Float[Tensor, "B h w C"], grid: tuple[int, int]) -> Float[Tensor, "B HW C"]:
    """`x` repeated over the places of a finer grid, row by row."""
    rows, columns = grid[0] // x.shape[1], grid[1] // x.shape[2]
    return repeat(x, "b h w c -> b (h r w s) c", r=rows, s=columns)
