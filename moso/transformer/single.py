"""One network over all tokens of a clip, in the place of TransformerSO, G and M (Table 6, "one single Transformer").

The paper gives its figures (286M parameters, 28.9 dB against 29.8) and not its wiring; this is ours. One stack of
the blocks of TransformerSO reads, in this order, the pseudo clip's scene and object tokens (what is known of the
past), the target clip's, and all its motion tokens; the unknown ones are mask tokens. It is trained as one masked
model: one r a clip, a share gamma(r) of every grid hidden; and sampled the same way, all grids in S steps of one
schedule, so that scene, object and motion are decided together rather than one before the other. Interpolation asks it
for motion while scene and object are all known: it can answer, but its training rarely shows it such clips.

B batch, T frames, N codebook size, V = N + 1 tokens with the mask, C width of the blocks, h w token grid (s scene,
o object, m motion).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from moso.tokens.clip_tokens import TokenGrids
from moso.transformer.config import TransformerConfig
from moso.transformer.content import ContentTransformer, copying, towards
from moso.transformer.embedding import Positions, TokenTable, Vocabulary
from moso.transformer.layers import FrameConvolution, pointwise
from moso.transformer.motion import nearest_known

PSEUDO, TARGET = 0, 1


@dataclass(frozen=True)
class Content:
    """What the single network is told of a clip's content beside the motion tokens, as Guidance is for TransformerM.

    Attributes:
        scene, object: the target clip's tokens, N where unknown.
        pseudo_scene, pseudo_object: the pseudo clip's, all N where nothing is given.
    """

    scene: Int[Tensor, "B hs ws"]
    object: Int[Tensor, "B ho wo"]
    pseudo_scene: Int[Tensor, "B hs ws"]
    pseudo_object: Int[Tensor, "B ho wo"]

    def repeated(self, times: int) -> Content:
        """Each clip's `times` times, one after the other."""
        parts = (self.scene, self.object, self.pseudo_scene, self.pseudo_object)
        return self if times == 1 else Content(*(part.repeat_interleave(times, dim=0) for part in parts))


class SingleTransformer(ContentTransformer):
    """Bidirectional blocks over pseudo content, target content and the motion tokens of all frames."""

    def __init__(self, config: TransformerConfig, grids: TokenGrids) -> None:
        count = single_blocks(config)
        super().__init__(config, grids, count)
        # Tell the same place in the pseudo and in the target clip apart.
        self.kinds = nn.Embedding(2, config.embedding) if self.present else None
        self.motion_positions = Positions(config, grids.motion)
        self.frame_positions = Positions(config, (grids.frames, 1))
        self.frames = None
        if config.temporal_depthwise:
            self.frames = nn.ModuleList(FrameConvolution(config.hidden) for _ in range(count))
        self.motion_copy = copying(config) if config.motion_copy_bias else None

    def forward(
        self,
        vocabulary: Vocabulary,
        table: TokenTable,
        content: Content,
        motion: Int[Tensor, "B T hm wm"],
        asked: Mapping[str, Int[Tensor, " n"]],
    ) -> dict[str, Float[Tensor, "n N"]]:
        """Logits of the target clip's tokens at some positions.

        Args:
            vocabulary, table: the embeddings and output layer, and the token vectors of this step.
            content: of the same clips.
            motion: tokens in [0, N); N where masked.
            asked: component -> indices into its flattened tokens; those that are left out are not computed.
        """
        places, flat = self.motion_places(vocabulary), motion.flatten(2)
        pseudo = self.embed(vocabulary, table, content.pseudo_scene, content.pseudo_object)
        target = self.embed(vocabulary, table, content.scene, content.object)
        parts = [(table.look_up(flat) + places).flatten(1, 2)]
        if self.kinds is not None:
            kinds = vocabulary.place(self.kinds.weight)
            parts = [*(part + kinds[PSEUDO] for part in pseudo), *(part + kinds[TARGET] for part in target), *parts]
        x = vocabulary.dropout(torch.cat(parts, dim=1))

        at = [self.rows_of(component, indices, x.shape[1]) for component, indices in asked.items()]
        grids = [*self.token_grids, *self.token_grids, *[self.grids.motion] * self.grids.frames]
        for i, block in enumerate(self.blocks):
            if self.frames is not None:
                x = self.across_frames(x, self.frames[i])
            x = block(x, grids, only=torch.cat(at) if i == len(self.blocks) - 1 else None)
        features = self.norm(x).split([len(indices) for indices in at])

        logits = {}
        for (component, indices), part in zip(asked.items(), features, strict=True):
            if component == "motion":
                logits[component] = vocabulary.logits(part)
                if self.motion_copy is not None:
                    near = nearest_known(flat, vocabulary.mask)[0].flatten()[indices]
                    logits[component] = towards(logits[component], near, self.motion_copy(part))
            else:
                tokens = content.pseudo_scene if component == "scene" else content.pseudo_object
                logits[component] = self.answer(
                    vocabulary, component, self.answer_of(component, part), tokens.flatten()[indices]
                )
        return logits

    def motion_places(self, vocabulary: Vocabulary) -> Float[Tensor, "T p C"]:
        """The position embeddings of the motion tokens."""
        return vocabulary.place(self.motion_positions()[None] + self.frame_positions()[:, None])

    def across_frames(self, x: Float[Tensor, "B P C"], convolution: nn.Module) -> Float[Tensor, "B P C"]:
        """`convolution` over the frames of the motion positions; the others stay as they are."""
        content, motion = x.split([2 * self.positions, x.shape[1] - 2 * self.positions], dim=1)
        motion = convolution(rearrange(motion, "b (t p) c -> b t p c", t=self.grids.frames))
        return torch.cat([content, rearrange(motion, "b t p c -> b (t p) c")], dim=1)

    def rows_of(self, component: str, indices: Int[Tensor, " n"], length: int) -> Int[Tensor, " n"]:
        """Rows of the flattened sequences (B, length) at which a component's tokens `indices` lie."""
        height, width = getattr(self.grids, component)
        size, offset = height * width, self.positions
        if component == "motion":
            size, offset = size * self.grids.frames, 2 * offset
        elif component == "object" and not self.merged:
            offset += self.positions - size  # behind the target's scene
        return indices + indices.div(size, rounding_mode="floor") * (length - size) + offset

    def answer_of(self, component: str, features: Float[Tensor, "n C"]) -> Float[Tensor, "n C"]:
        """The answer of a merged position for one of its two components; `features` where they are apart."""
        if self.answers is None:
            return features
        i = self.present.index(component)
        return pointwise(features, self.answers.weight.chunk(2)[i], self.answers.bias.chunk(2)[i])


def single_blocks(config: TransformerConfig) -> int:
    """Blocks of the single network; a block of TransformerM has 1.5 times the parameters of one of these."""
    if config.single_blocks is not None:
        return config.single_blocks
    return config.scene_object_blocks + (3 * config.motion_blocks + 1) // 2
