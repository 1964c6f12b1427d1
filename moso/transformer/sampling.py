"""Sampling a clip's tokens (Sec. 3.2): scene and object at once, motion in S steps of keeping and masking again.

B clips, R samples a clip, T frames, h w token grid, N codebook size, g frames whose motion tokens are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from moso.tokens.clip_tokens import ClipTokens
from moso.transformer.config import SamplingConfig
from moso.transformer.embedding import TokenTable
from moso.transformer.filling import Part, draw, fill, generators, uniforms
from moso.transformer.model import MosoTransformer
from moso.transformer.scene_object import Guidance
from moso.transformer.single import Content

OnStep = Callable[[int, Tensor], None]
"""Called after each step with its number from 0 and the motion tokens (B R, T, h, w), N where still masked."""


def sample(
    transformer: MosoTransformer,
    pseudo_scene: Int[Tensor, "B hs ws"],
    pseudo_object: Int[Tensor, "B ho wo"],
    given_motion: Int[Tensor, "B g hm wm"],
    config: SamplingConfig,
    seeds: Sequence[int],
    on_step: OnStep | None = None,
    *,
    repeats: int = 1,
) -> ClipTokens:
    """Tokens of the clips that follow the given frames, R = `repeats` samples of each.

    Args:
        transformer: on any device; dropout is off meanwhile.
        pseudo_scene, pseudo_object: tokens of the pseudo clips; all N (`transformer.mask`) where nothing is given.
        given_motion: motion tokens of the frames whose pools lie wholly inside the given ones; they stay. Of 0 frames
            where nothing is given, which takes a transformer that is trained for it.
        config: see SamplingConfig.
        seeds: one a sample. A clip and a seed give the same tokens whatever the batch, but for ties within the rounding
            of sums, whose order may depend on the batch.
        on_step: see OnStep.
        repeats: R; row r of the result is a sample of clip r // R. TransformerSO reads each clip once, and TransformerG
            too where all samples of a clip have the same scene and object tokens (`scene_object: argmax`).
    """
    given = transformer.given_motion_frames
    if given_motion.shape[1] != given and not (transformer.unconditional and given_motion.shape[1] == 0):
        raise ValueError(f"motion tokens of {given_motion.shape[1]} frames given, this model takes {given}")
    device = transformer.device
    pseudo_scene, pseudo_object = pseudo_scene.to(device), pseudo_object.to(device)
    motion = torch.full((len(pseudo_scene), *transformer.grids.shape("motion")), transformer.mask, device=device)
    motion[:, : given_motion.shape[1]] = given_motion.to(device)
    random = generators(seeds, len(motion) * repeats)
    every = motion.repeat_interleave(repeats, dim=0)
    with evaluating(transformer):
        if transformer.config.wiring == "single":
            scene, object = (torch.full_like(part, transformer.mask) for part in (pseudo_scene, pseudo_object))
            content = Content(scene, object, pseudo_scene, pseudo_object).repeated(repeats)
            return _sample_together(transformer, content, every, config, random, on_step)
        known, table = motion[:, :given], transformer.vocabulary.table()
        logits = transformer.scene_object_logits(pseudo_scene, pseudo_object, known, table)
        # How many draws a clip has: with the likeliest tokens all samples are one.
        draws = 1 if config.scene_object == "argmax" else repeats
        scene, object = (_scene_object_tokens(part, config, random) for part in logits)
        read_scene, read_object, read_motion = (
            part.repeat_interleave(draws, dim=0) for part in (pseudo_scene, pseudo_object, known)
        )
        guidance = transformer.guidance(scene, object, read_scene, read_object, read_motion, table)
        guidance = guidance.repeated(repeats // draws)
        scene, object = (part.repeat_interleave(repeats // draws, dim=0) for part in (scene, object))
        motion = _fill_motion(transformer, table, every, guidance, config, random, on_step)
    return ClipTokens(scene, object, motion)


def fill_motion(
    transformer: MosoTransformer,
    motion: Int[Tensor, "B T hm wm"],
    guidance: Guidance | Content,
    config: SamplingConfig,
    seeds: Sequence[int],
    on_step: OnStep | None = None,
) -> Int[Tensor, "B T hm wm"]:
    """`motion` with its masked tokens (N) filled in; the others stay. Which ones are masked is free, clip by clip.

    `guidance` is what transformer.guidance gave for the clips' scene and object tokens. Everything is to lie on the
    transformer's device.
    """
    with evaluating(transformer):
        random = generators(seeds, len(motion))
        return _fill_motion(transformer, transformer.vocabulary.table(), motion, guidance, config, random, on_step)


def _fill_motion(
    transformer: MosoTransformer,
    table: TokenTable,
    motion: Int[Tensor, "B T hm wm"],
    guidance: Guidance | Content,
    config: SamplingConfig,
    random: Sequence[torch.Generator],
    on_step: OnStep | None,
) -> Int[Tensor, "B T hm wm"]:
    def predict(tokens: Sequence[Tensor], asked: Sequence[Tensor]) -> list[Tensor]:
        return [transformer.motion_logits(tokens[0], guidance, asked[0], table)]

    parts = [Part(motion, config.motion_temperature)]
    report = None if on_step is None else lambda step, tokens: on_step(step, tokens[0])
    return fill(parts, predict, transformer.mask, config, random, report)[0]


def _sample_together(
    transformer: MosoTransformer,
    content: Content,
    motion: Int[Tensor, "B T hm wm"],
    config: SamplingConfig,
    random: Sequence[torch.Generator],
    on_step: OnStep | None,
) -> ClipTokens:
    """The single network: scene, object and motion tokens in the same steps."""
    table, present = transformer.vocabulary.table(), transformer.grids.components

    def parted(tokens: Sequence[Tensor]) -> dict[str, Tensor]:
        """The tokens as scene, object (B, h, w) and motion."""
        filled = {name: part if name == "motion" else part[:, 0] for name, part in zip(present, tokens, strict=True)}
        return {"scene": content.scene, "object": content.object} | filled

    def predict(tokens: Sequence[Tensor], asked: Sequence[Tensor]) -> list[Tensor]:
        now = parted(tokens)
        told = Content(now["scene"], now["object"], content.pseudo_scene, content.pseudo_object)
        logits = transformer.clip_logits(told, now["motion"], dict(zip(present, asked, strict=True)), table)
        return [logits[name] for name in present]

    temperature = 0.0 if config.scene_object == "argmax" else config.scene_object_temperature
    parts = [Part(getattr(content, name)[:, None], temperature) for name in present if name != "motion"]
    parts.append(Part(motion, config.motion_temperature))
    report = None if on_step is None else lambda step, tokens: on_step(step, tokens[-1])
    return ClipTokens(**parted(fill(parts, predict, transformer.mask, config, random, report)))


def _scene_object_tokens(
    logits: Float[Tensor, "B h w N"], config: SamplingConfig, random: Sequence[torch.Generator]
) -> Int[Tensor, "BR h w"]:
    """Tokens of one component: the likeliest (R = 1), or a draw for each generator, R a clip."""
    clips, height, width, _ = logits.shape
    if config.scene_object == "argmax":
        return logits.argmax(dim=-1)
    # All samples of a place side by side: its distribution is summed up once.
    uniform = rearrange(uniforms((height, width), random, logits.device), "(b r) h w -> (b h w) r", b=clips)
    drawn = draw(logits.flatten(0, 2).float(), uniform, config.scene_object_temperature, config.top_k)
    return rearrange(drawn, "(b h w) r -> (b r) h w", b=clips, h=height, w=width)


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
