"""The masking schedule gamma and the masks drawn by it: pure functions (Sec. 3.2; MaskGIT)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool
from torch import Tensor

from moso.choices import Schedule
from moso.tokens.clip_tokens import TokenGrids


def mask_ratio(r: float, schedule: Schedule = "cosine") -> float:
    """gamma(r): the share of tokens that are masked; 1 at r = 0, falling to 0 at r = 1.

    Args:
        r: in [0, 1]; the share of the steps done while sampling, uniform in [0, 1) while training.
        schedule: "cosine", cos(pi r / 2), is the paper's; "linear" is 1 - r; "square" is 1 - r^2.

    Raises:
        ValueError: r outside [0, 1].
    """
    if not 0 <= r <= 1:
        raise ValueError(f"r = {r} lies outside [0, 1]")
    if r == 1:
        return 0.0  # cos(pi / 2) in floating point is not
    return {"cosine": math.cos(math.pi * r / 2), "linear": 1 - r, "square": 1 - r * r}[schedule]


def masked_after(step: int, steps: int, tokens: int, schedule: Schedule = "cosine") -> int:
    """How many of `tokens` first masked ones are masked again after step `step` (from 0) of `steps`.

    floor(gamma((step + 1) / steps) * tokens): never more than the step before, 0 after the last one.
    """
    return math.floor(mask_ratio((step + 1) / steps, schedule) * tokens)


def training_mask(
    frames: int, grid: tuple[int, int], given_frames: int, generator: torch.Generator
) -> Bool[Tensor, "T h w"]:
    """The motion tokens of a clip to mask in training: r ~ U[0, 1), ceil(gamma(r) h w) of each frame that is not given.

    Args:
        frames: T.
        grid: (h, w) of the motion tokens.
        given_frames: leading frames whose motion tokens are given and never masked.
        generator: on the CPU; the mask is a function of its state alone.

    Returns:
        True where masked; at least one token in each frame that is not given.
    """
    r = float(torch.rand((), generator=generator))
    return _hidden(r, frames, grid, given_frames, generator)


def clip_mask(
    grids: TokenGrids, given_frames: int, generator: torch.Generator
) -> tuple[Bool[Tensor, "hs ws"], Bool[Tensor, "ho wo"], Bool[Tensor, "T hm wm"]]:
    """The scene, object and motion tokens to mask where one network reads them all: one r, gamma(r) of every grid.

    Arguments as for `training_mask`; at least one token of each grid that is there and not given.
    """
    r = float(torch.rand((), generator=generator))
    motion = _hidden(r, grids.frames, grids.motion, given_frames, generator)
    scene, object = (_hidden(r, 1, grid, 0, generator)[0] for grid in (grids.scene, grids.object))
    return scene, object, motion


def _hidden(
    r: float, frames: int, grid: tuple[int, int], given_frames: int, generator: torch.Generator
) -> Bool[Tensor, "T h w"]:
    height, width = grid
    count = math.ceil(mask_ratio(r) * height * width)
    order = torch.rand(frames - given_frames, height * width, generator=generator).argsort(dim=1)
    mask = torch.zeros(frames, height * width, dtype=torch.bool)
    mask[given_frames:].scatter_(1, order[:, :count], True)
    return mask.view(frames, height, width)
