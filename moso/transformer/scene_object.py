"""TransformerSO (Eq. 11) and TransformerG: one set of weights with two uses.

B batch, T frames, N codebook size, V = N + 1 tokens with the mask, C width of the blocks, L positions of scene and
object, h w token grid (s scene, o object, m motion), g frames whose motion tokens are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from moso.tokens.clip_tokens import TokenGrids
from moso.transformer.config import TransformerConfig
from moso.transformer.content import ContentTransformer
from moso.transformer.embedding import TokenTable, Vocabulary
from moso.transformer.layers import Pointwise


@dataclass(frozen=True)
class Guidance:
    """What TransformerM is told of a clip's content.

    Attributes:
        frames: the guidance embeddings (B, T, C), the outputs of TransformerG at its frame queries.
        places: (B, hm wm, C), added to the motion positions of every frame; None without the settings show_*.
    """

    frames: Float[Tensor, "B T C"]
    places: Float[Tensor, "B p C"] | None = None

    def repeated(self, times: int) -> Guidance:
        """Each clip's `times` times, one after the other."""
        if times == 1:
            return self
        places = None if self.places is None else self.places.repeat_interleave(times, dim=0)
        return Guidance(self.frames.repeat_interleave(times, dim=0), places)


class SceneObjectTransformer(ContentTransformer):
    """Bidirectional blocks over the scene and object tokens of a clip.

    As TransformerSO it reads those of the pseudo clip and predicts those of the target clip; as TransformerG it reads
    those of the target clip (true or predicted) and T learned frame queries. All blocks and embeddings serve both.
    Where both components are absent, SO has nothing to do and G has its queries alone.
    """

    def __init__(self, config: TransformerConfig, grids: TokenGrids, given_motion_frames: int) -> None:
        super().__init__(config, grids, config.scene_object_blocks, queries=grids.frames)
        self.given = Pointwise(given_motion_frames * config.hidden, config.hidden) if config.show_given_motion else None

    def read(
        self,
        vocabulary: Vocabulary,
        table: TokenTable,
        scene: Int[Tensor, "B hs ws"],
        object: Int[Tensor, "B ho wo"],
        given_motion: Int[Tensor, "B g hm wm"] | None,
    ) -> Float[Tensor, "B L C"]:
        """The input of the blocks at the scene and object positions."""
        parts = self.embed(vocabulary, table, scene, object)
        if self.given is not None:
            if given_motion is None:
                raise ValueError("show_given_motion needs the given motion tokens")
            shown = self.given(rearrange(table.look_up(given_motion), "b g h w c -> b h w (g c)"))
            pairs = zip(parts, self.token_grids, strict=True)
            parts = [part + enlarge(shown, grid) for part, grid in pairs]
        return torch.cat(parts, dim=1) if parts else self.norm.weight.new_zeros((len(scene), 0, len(self.norm.weight)))

    def predict(
        self,
        vocabulary: Vocabulary,
        table: TokenTable,
        pseudo_scene: Int[Tensor, "B hs ws"],
        pseudo_object: Int[Tensor, "B ho wo"],
        given_motion: Int[Tensor, "B g hm wm"] | None = None,
    ) -> tuple[Float[Tensor, "B hs ws N"], Float[Tensor, "B ho wo N"]]:
        """TransformerSO, Eq. 11: logits of the target clip's scene and object tokens."""
        pseudo = {"scene": pseudo_scene, "object": pseudo_object}
        logits = {name: self.norm.weight.new_zeros((*tokens.shape, vocabulary.size)) for name, tokens in pseudo.items()}
        if self.present:
            x = vocabulary.dropout(self.read(vocabulary, table, pseudo_scene, pseudo_object, given_motion))
            for block in self.blocks:
                x = block(x, self.token_grids)
            x = self.norm(x)
            sizes = [height * width for height, width in self.token_grids]
            parts = x.split(sizes, dim=1) if self.answers is None else self.answers(x).chunk(2, dim=-1)
            for name, part in zip(self.present, parts, strict=True):
                out = self.answer(vocabulary, name, part, pseudo[name].flatten(1))
                logits[name] = out.view(*pseudo[name].shape, vocabulary.size)
        return logits["scene"], logits["object"]

    def guide(
        self,
        vocabulary: Vocabulary,
        table: TokenTable,
        scene: Int[Tensor, "B hs ws"],
        object: Int[Tensor, "B ho wo"],
        given_motion: Int[Tensor, "B g hm wm"] | None = None,
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B L C"]]:
        """TransformerG: the outputs at the frame queries (the guidance embeddings) and at the tokens' positions."""
        assert self.queries is not None
        tokens = self.read(vocabulary, table, scene, object, given_motion)
        queries = vocabulary.place(self.queries.weight).expand(len(tokens), -1, -1)
        x = vocabulary.dropout(torch.cat([tokens, queries], dim=1))
        for block in self.blocks:
            x = block(x, self.token_grids)
        at_tokens, at_queries = self.norm(x).split([tokens.shape[1], queries.shape[1]], dim=1)
        return at_queries, at_tokens


def enlarge(x: Float[Tensor, "B h w C"], grid: tuple[int, int]) -> Float[Tensor, "B HW C"]:
    """`x` repeated over the places of a finer grid, row by row."""
    rows, columns = grid[0] // x.shape[1], grid[1] // x.shape[2]
    return repeat(x, "b h w c -> b (h r w s) c", r=rows, s=columns)
