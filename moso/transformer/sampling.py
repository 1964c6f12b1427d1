"""Sampling a clip's tokens (Sec. 3.2): scene and object at once, motion in S steps of keeping and masking again.

B clips, T frames, h w token grid, N codebook size, g frames whose motion tokens are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moso.tokens.clip_tokens import ClipTokens
from moso.training.random import generator
from moso.transformer.config import SamplingConfig
from moso.transformer.masking import masked_after
from moso.transformer.model import MosoTransformer
from moso.transformer.scene_object import Guidance

OnStep = Callable[[int, Tensor], None]
"""Called after each step with its number from 0 and the motion tokens (B, T, h, w), N where still masked."""


def sample(
    transformer: MosoTransformer,
    pseudo_scene: Int[Tensor, "B hs ws"],
    pseudo_object: Int[Tensor, "B ho wo"],
    given_motion: Int[Tensor, "B g hm wm"],
    config: SamplingConfig,
    seeds: Sequence[int],
    on_step: OnStep | None = None,
) -> ClipTokens:
    """Tokens of the clips that follow the given frames.

    Args:
        transformer: on any device; dropout is off meanwhile.
        pseudo_scene, pseudo_object: tokens of the pseudo clips; all N (`transformer.mask`) where nothing is given.
        given_motion: motion tokens of the frames whose pools lie wholly inside the given ones; they stay.
        config: see SamplingConfig.
        seeds: one a clip. A clip and a seed give the same tokens whatever the batch, but for ties within the rounding
            of sums, whose order may depend on the batch.
        on_step: see OnStep.
    """
    grids, given = transformer.grids, transformer.given_motion_frames
    if given_motion.shape[1] != given:
        raise ValueError(f"motion tokens of {given_motion.shape[1]} frames given, this model takes {given}")
    device = transformer.device
    pseudo_scene, pseudo_object = pseudo_scene.to(device), pseudo_object.to(device)
    motion = torch.full((len(pseudo_scene), *grids.shape("motion")), transformer.mask, device=device)
    motion[:, :given] = given_motion.to(device)
    with evaluating(transformer):
        random = _generators(seeds, len(motion))
        logits = transformer.scene_object_logits(pseudo_scene, pseudo_object, motion[:, :given])
        scene, object = (_scene_object_tokens(part, config, random) for part in logits)
        guidance = transformer.guidance(scene, object, pseudo_scene, pseudo_object, motion[:, :given])
        motion = _fill(transformer, motion, guidance, config, random, on_step)
    return ClipTokens(scene, object, motion)


def fill_motion(
    transformer: MosoTransformer,
    motion: Int[Tensor, "B T hm wm"],
    guidance: Guidance,
    config: SamplingConfig,
    seeds: Sequence[int],
    on_step: OnStep | None = None,
) -> Int[Tensor, "B T hm wm"]:
    """`motion` with its masked tokens (N) filled in; the others stay. Which ones are masked is free, clip by clip."""
    with evaluating(transformer):
        return _fill(transformer, motion, guidance, config, _generators(seeds, len(motion)), on_step)


def _fill(
    transformer: MosoTransformer,
    motion: Int[Tensor, "B T hm wm"],
    guidance: Guidance,
    config: SamplingConfig,
    random: Sequence[torch.Generator],
    on_step: OnStep | None,
) -> Int[Tensor, "B T hm wm"]:
    mask = transformer.mask
    first = (motion == mask).sum(dim=(2, 3))
    for step in range(config.steps):
        masked = motion == mask
        logits = transformer.motion_logits(motion, guidance, masked).float()
        uniform = _uniform((2, *motion.shape[1:]), random, motion.device)
        drawn = draw(logits, uniform[:, 0][masked], config.motion_temperature, config.top_k)
        log_probability = logits.log_softmax(dim=-1).gather(-1, drawn[:, None]).squeeze(-1)
        confidence = torch.full(motion.shape, torch.inf, device=motion.device)
        confidence[masked] = log_probability + config.confidence_noise * gumbel(uniform[:, 1][masked])
        filled = motion.clone()
        filled[masked] = drawn
        counts = [masked_after(step, config.steps, n, config.schedule) for n in first.flatten().tolist()]
        again = least_confident(confidence, torch.tensor(counts, device=motion.device).view(first.shape))
        motion = torch.where(again, mask, filled)
        if on_step is not None:
            on_step(step, motion)
    return motion


def draw(
    logits: Float[Tensor, "n N"], uniform: Float[Tensor, " n"], temperature: float, top_k: int = 0
) -> Int[Tensor, " n"]:
    """One token a row from softmax(logits / temperature) over the `top_k` likeliest (0: all); at 0 the likeliest.

    By the inverse of the cumulative distribution at `uniform` in [0, 1): one number a token, so that it is cheap to
    draw each clip's from its own generator.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    scaled = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        scaled = scaled.masked_fill(scaled < scaled.topk(top_k, dim=-1).values[:, -1:], -torch.inf)
    # float64: at N = 16384 a float32 sum is off by more than the smallest probabilities.
    cumulative = scaled.double().softmax(dim=-1).cumsum(dim=-1)
    below = uniform.double()[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, below, right=True).squeeze(-1).clamp_max(logits.shape[-1] - 1)


def gumbel(uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Gumbel noise from uniform numbers in [0, 1)."""
    smallest = torch.finfo(torch.float32).tiny
    return -(-uniform.clamp_min(smallest).log()).clamp_min(smallest).log()


def least_confident(confidence: Float[Tensor, "B T h w"], counts: Int[Tensor, "B T"]) -> Bool[Tensor, "B T h w"]:
    """True at the `counts` least confident positions of each frame; among equals the first ones."""
    rank = confidence.flatten(2).argsort(dim=-1, stable=True).argsort(dim=-1)
    return (rank < counts[..., None]).view(confidence.shape)


def _scene_object_tokens(
    logits: Float[Tensor, "B h w N"], config: SamplingConfig, random: Sequence[torch.Generator]
) -> Int[Tensor, "B h w"]:
    if config.scene_object == "argmax":
        return logits.argmax(dim=-1)
    uniform = _uniform(logits.shape[1:3], random, logits.device)
    drawn = draw(logits.flatten(0, 2).float(), uniform.flatten(), config.scene_object_temperature, config.top_k)
    return drawn.view(logits.shape[:3])


def _generators(seeds: Sequence[int], clips: int) -> list[torch.Generator]:
    if len(seeds) != clips:
        raise ValueError(f"{len(seeds)} seeds for {clips} clips; one each")
    return [generator(seed, "sampling") for seed in seeds]


def _uniform(
    shape: Sequence[int], random: Sequence[torch.Generator], device: torch.device
) -> Float[Tensor, "B *shape"]:
    """Uniform numbers in [0, 1), each clip's from its own generator."""
    return torch.stack([torch.rand(tuple(shape), generator=one) for one in random]).to(device)


@contextmanager
def evaluating(transformer: MosoTransformer) -> Iterator[None]:
    """Evaluation mode without gradients; the mode before is restored."""
    training = transformer.training
    transformer.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        transformer.train(training)
