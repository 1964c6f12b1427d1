"""Tokens and positions as vectors, and vectors as distributions over tokens.

N codebook size, V = N + 1 tokens with the mask, D code dimension, E width of embeddings, C width of the blocks,
h w token grid.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from moso.training.optimizer import mark_for
from moso.transformer.config import TransformerConfig
from moso.transformer.layers import Pointwise, pointwise

LOOK_UPS = 4
"""Times that a step looks up about as many tokens: SO's, G's and, twice as many, M's."""


class Vocabulary(nn.Module):
    """The N tokens and the mask: their embeddings, and the output layer. Shared by TransformerSO, G and M.

    Embeddings have width E and are projected to C (the released code has a GELU behind it; the paper names none).
    """

    codes: Tensor | None

    def __init__(
        self, config: TransformerConfig, codebook_size: int, code_vectors: Float[Tensor, "N D"] | None
    ) -> None:
        super().__init__()
        self.size = codebook_size
        self.embedding = nn.Embedding(codebook_size + 1, config.embedding)
        self.project = Pointwise(config.embedding, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.output = Pointwise(config.hidden, codebook_size)
        mark_for(
            cast(nn.Parameter, self.output.weight), "adamw"
        )  # a table of one vector a token, no map between features
        self.codes_in = self.codes_out = None
        codes = None
        if config.code_embedding:
            if code_vectors is None:
                raise ValueError("code_embedding needs the code vectors")
            # One scale for all, so that the distances between codes stay what they are in Stage I.
            codes = (code_vectors - code_vectors.mean(0)) / code_vectors.std().clamp_min(1e-12)
            self.codes_in = Pointwise(code_vectors.shape[1], config.embedding, bias=False)
            self.codes_out = Pointwise(code_vectors.shape[1], config.hidden, bias=False)
        self.register_buffer("codes", codes)

    @property
    def mask(self) -> int:
        """The mask token: N, one past the codebook."""
        return self.size

    def table(self) -> TokenTable:
        """The vectors of all tokens and, last, of the mask, as the weights are now."""
        embeddings = self.embedding.weight
        if self.codes_in is not None and self.codes is not None:
            embeddings = embeddings + F.pad(self.codes_in(self.codes), (0, 0, 0, 1))
        return TokenTable(embeddings, self.project)

    def place(self, positions: Float[Tensor, "*L E"]) -> Float[Tensor, "*L C"]:
        """Position embeddings brought to the blocks' width, without the projection's bias: the table has it."""
        return F.linear(positions, self.project.weight)

    def logits(self, features: Float[Tensor, "*rows C"]) -> Float[Tensor, "*rows N"]:
        """Unnormalised log-probabilities of the N tokens."""
        weight = self.output.weight
        if self.codes_out is not None and self.codes is not None:
            weight = weight + self.codes_out(self.codes)
        return pointwise(features, weight, self.output.bias)


class Positions(nn.Module):
    """One vector of width E for each place of a grid (h, w), or each frame where the grid is (T, 1)."""

    fixed: Tensor

    def __init__(self, config: TransformerConfig, grid: tuple[int, int]) -> None:
        super().__init__()
        height, width = grid
        self.learned = self.norm = None
        if config.positions == "learned":
            self.learned = nn.Embedding(height * width, config.embedding)
        else:
            half = config.embedding // 2 if width > 1 else 0
            along_rows = sinusoid(height, config.embedding - half)
            along_columns = sinusoid(width, half)
            both = [repeat(along_rows, "h e -> (h w) e", w=width), repeat(along_columns, "w e -> (h w) e", h=height)]
            self.register_buffer("fixed", torch.cat(both, dim=1))
            self.norm = nn.LayerNorm(config.embedding)

    def forward(self) -> Float[Tensor, "hw E"]:
        if self.learned is not None:
            return self.learned.weight
        assert self.norm is not None
        out: Tensor = self.norm(self.fixed)
        return out


def sinusoid(count: int, width: int) -> Float[Tensor, "count width"]:
    """Sines (even columns) and cosines (odd) of the places 0 .. count-1, wave lengths 2 pi to 20000 pi."""
    place = torch.arange(count)[:, None]
    column = torch.arange(width)[None]
    angle = place / 10000 ** ((column - column % 2) / max(width, 1))
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())


class TokenTable:
    """The vectors of all tokens: made once for a step of training, or for all steps of a sampling.

    The projection to the blocks' width is linear, so it may be done on the table's V rows, once, or on the tokens that
    are looked up: whichever are fewer.

    Args:
        embeddings: (V, E).
        project: E -> C.
    """

    def __init__(self, embeddings: Float[Tensor, "V E"], project: Pointwise) -> None:
        self.embeddings, self.project = embeddings, project
        self._rows: Tensor | None = None

    def rows(self) -> Float[Tensor, "V C"]:
        """All of them."""
        if self._rows is None:
            self._rows = self.project(self.embeddings)
        return self._rows

    def look_up(self, tokens: Int[Tensor, "*shape"], through: Pointwise | None = None) -> Float[Tensor, "*shape C"]:
        """The vectors of `tokens`, brought through one more layer where one is given."""
        if self._rows is None and LOOK_UPS * tokens.numel() < len(self.embeddings):
            found: Tensor = self.project(F.embedding(tokens, self.embeddings))
            return found if through is None else through(found)
        rows = self.rows()
        return F.embedding(tokens, rows if through is None else through(rows))
