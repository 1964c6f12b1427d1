"""Sampling, plainly: at every step guidance anew, logits and draws for every position.

B clips, T frames, h w token grid, N codebook size, S steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.plain.transformer import PlainTransformer
from bench.plain.vqvae import Tokens


class Uniform(NamedTuple):
    """Random numbers in [0, 1) in place of torch's own, so that a test draws what moso draws."""

    scene: Float[Tensor, "B hs ws"]
    object: Float[Tensor, "B ho wo"]
    motion: Float[Tensor, "B S 2 T hm wm"]


@torch.no_grad()
def sample(
    model: PlainTransformer,
    pseudo_scene: Int[Tensor, "B hs ws"],
    pseudo_object: Int[Tensor, "B ho wo"],
    given_motion: Int[Tensor, "B g hm wm"],
    steps: int,
    confidence_noise: float,
    uniform: Uniform | None = None,
) -> Tokens:
    """Tokens of the clips that follow; cosine schedule, temperature 1."""
    of_scene, of_object = model.scene_object_logits(pseudo_scene, pseudo_object)
    scene = draw(of_scene, None if uniform is None else uniform.scene)
    object = draw(of_object, None if uniform is None else uniform.object)
    batch, given = len(scene), given_motion.shape[1]
    frames, height, width = model.grids.shape("motion")
    motion = torch.full((batch, frames, height, width), model.mask, device=scene.device)
    motion[:, :given] = given_motion
    for step in range(steps):
        numbers = None if uniform is None else uniform.motion[:, step]
        guidance = model.guidance(scene, object)
        logits = model.motion_logits(motion, guidance)
        masked = motion == model.mask
        drawn = torch.where(masked, draw(logits, None if numbers is None else numbers[:, 0]), motion)
        sure = logits.log_softmax(dim=-1).gather(-1, drawn[..., None])[..., 0]
        noise = torch.rand_like(sure) if numbers is None else numbers[:, 1]
        sure = sure - confidence_noise * torch.log(-torch.log(noise.clamp(1e-38, 1 - 1e-7)))
        sure = sure.masked_fill(~masked, torch.inf)
        left = math.floor(math.cos(math.pi / 2 * (step + 1) / steps) * height * width) if step + 1 < steps else 0
        order = sure.flatten(2).argsort(dim=-1)
        again = torch.zeros_like(order, dtype=torch.bool).scatter_(-1, order[..., :left], True).view_as(masked)
        motion = torch.where(again & masked, model.mask, drawn)
    return scene, object, motion


def draw(logits: Float[Tensor, "*shape N"], uniform: Float[Tensor, "*shape"] | None) -> Int[Tensor, "*shape"]:
    """A token of each distribution."""
    if uniform is None:
        return torch.multinomial(logits.softmax(dim=-1).flatten(0, -2), 1).view(logits.shape[:-1])
    below = logits.double().softmax(dim=-1).cumsum(dim=-1)
    return (below <= uniform[..., None] * below[..., -1:]).sum(dim=-1).clamp_max(logits.shape[-1] - 1)
