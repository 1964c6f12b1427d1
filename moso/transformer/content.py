"""What the networks that read scene and object tokens share: their input, their blocks, their answers.

B batch, N codebook size, V = N + 1 tokens with the mask, C width of the blocks, L positions of scene and object,
h w token grid (s scene, o object).
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moso.errors import ConfigError
from moso.tokens.clip_tokens import TokenGrids
from moso.training.optimizer import mark_for
from moso.transformer.config import TransformerConfig
from moso.transformer.embedding import Positions, TokenTable, Vocabulary
from moso.transformer.layers import Block, Pointwise


class ContentTransformer(nn.Module):
    """Bidirectional blocks over the scene and object tokens of a clip, and perhaps more.

    Args:
        config: see TransformerConfig.
        grids: of a clip; a component whose grid is (0, 0) is absent, and nothing here is made for it.
        blocks: how many.
        queries: learned vectors that are read beside the tokens.

    Attributes:
        present: which of "scene" and "object" there are, in this order.
        token_grids: the grids of the L positions, in order: one a component, or one for both where they are merged.

    Raises:
        ConfigError: merged_scene_object with unequal grids, or where one of the two is absent.
    """

    def __init__(self, config: TransformerConfig, grids: TokenGrids, blocks: int, queries: int = 0) -> None:
        super().__init__()
        self.grids, self.merged = grids, config.merged_scene_object
        self.present = [name for name in grids.components if name != "motion"]
        if self.merged and (grids.scene != grids.object or not self.present):
            rule = f"needs equal grids that both are there, scene has {grids.scene} and object {grids.object}"
            raise ConfigError("merged_scene_object", True, rule, "set it to false")
        self.token_grids = [grids.scene] if self.merged else [getattr(grids, name) for name in self.present]
        # The order in which parts are made is the order in which start values are drawn: it is part of the numerics.
        self.scene_positions = Positions(config, grids.scene) if "scene" in self.present else None
        has_places = "object" in self.present and not self.merged
        self.object_positions = Positions(config, grids.object) if has_places else None
        self.queries = nn.Embedding(queries, config.embedding) if queries else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(blocks))
        self.norm = nn.LayerNorm(config.hidden)
        # Summed embeddings of a scene and an object token must not commute, and one position must answer two questions.
        self.as_object = Pointwise(config.hidden, config.hidden, bias=False) if self.merged else None
        self.answers = Pointwise(config.hidden, 2 * config.hidden) if self.merged else None
        self.copy = nn.ModuleList(copying(config) for _ in self.present) if config.copy_bias else None

    @property
    def positions(self) -> int:
        """L."""
        return sum(height * width for height, width in self.token_grids)

    def embed(
        self,
        vocabulary: Vocabulary,
        table: TokenTable,
        scene: Int[Tensor, "B hs ws"],
        object: Int[Tensor, "B ho wo"],
    ) -> list[Float[Tensor, "B l C"]]:
        """The tokens with their places, a part for each of `token_grids`."""
        parts = []
        if self.scene_positions is not None:
            parts.append(table.look_up(scene.flatten(1)) + vocabulary.place(self.scene_positions()))
        if self.as_object is not None:
            parts = [parts[0] + table.look_up(object.flatten(1), self.as_object)]
        elif self.object_positions is not None:
            parts.append(table.look_up(object.flatten(1)) + vocabulary.place(self.object_positions()))
        return parts

    def answer(
        self,
        vocabulary: Vocabulary,
        component: str,
        features: Float[Tensor, "*rows C"],
        pseudo: Int[Tensor, "*rows"],
    ) -> Float[Tensor, "*rows N"]:
        """Logits of one component's tokens, from the features at their positions and the pseudo clip's tokens there."""
        logits = vocabulary.logits(features)
        if self.copy is None:
            return logits
        return towards(logits, pseudo, self.copy[self.present.index(component)](features))


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
