"""Tokens of target and pseudo clips as one row of numbers a clip: the form in which workers hand them on.

B clips, V tokens of a row: the target's scene, object and motion, then the pseudo clip's scene and object.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Int
from torch import Tensor

from moso.tokens.clip_tokens import ClipTokens, TokenGrids


def row_length(grids: TokenGrids) -> int:
    """V."""
    return sum(math.prod(shape) for shape in _shapes(grids))


def to_rows(target: ClipTokens, pseudo: ClipTokens) -> Int[Tensor, "B V"]:
    """int32; the pseudo clips' motion, which is the targets' (Eq. 12), is left out."""
    parts = (target.scene, target.object, target.motion, pseudo.scene, pseudo.object)
    return torch.cat([part.flatten(1) for part in parts], dim=1).to(torch.int32)


def from_rows(rows: Int[Tensor, "B V"], grids: TokenGrids) -> tuple[ClipTokens, ClipTokens]:
    """Inverse of `to_rows`: target and pseudo clips, the latter with the targets' motion tokens."""
    shapes = _shapes(grids)
    parts = rows.long().split([math.prod(shape) for shape in shapes], dim=1)
    scene, object, motion, pseudo_scene, pseudo_object = (
        part.reshape(len(rows), *shape) for part, shape in zip(parts, shapes, strict=True)
    )
    return ClipTokens(scene, object, motion), ClipTokens(pseudo_scene, pseudo_object, motion)


def _shapes(grids: TokenGrids) -> list[tuple[int, ...]]:
    return [grids.shape(name) for name in ("scene", "object", "motion", "scene", "object")]
