"""Filling in masked tokens in S steps: draw all of them, keep the surest, mask the others again (Sec. 3.2; MaskGIT).

Nothing here knows a network: `predict` gives logits for masked tokens. B rows, F frames (1 for scene and object), h w
token grid, N codebook size, S steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moso.training.random import generator
from moso.transformer.config import SamplingConfig
from moso.transformer.masking import masked_after

AT_ONCE = 2**22
"""Probabilities that `draw` sums up at a time, in float64: 32 MiB, where a batch of the paper's clips has gigabytes."""

Predict = Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]
"""From every part's tokens and the indices (n,) of the masked ones in them flattened to logits (n, N) a part."""


@dataclass(frozen=True)
class Part:
    """Tokens that are filled in by the same steps as those of other parts.

    Attributes:
        tokens: (B, F, h, w), N where masked. Each frame loses its masks by the schedule for itself.
        temperature: of their distribution; 0 takes the likeliest.
    """

    tokens: Int[Tensor, "B F h w"]
    temperature: float


def fill(
    parts: Sequence[Part],
    predict: Predict,
    mask: int,
    config: SamplingConfig,
    random: Sequence[torch.Generator],
    on_step: Callable[[int, Sequence[Tensor]], None] | None = None,
) -> list[Int[Tensor, "B F h w"]]:
    """The parts' tokens with the masked ones filled in; the others stay.

    How many tokens are masked at which step follows from their first number, so the steps themselves neither wait for
    the device nor copy from it, and a step in which the schedule reveals no token costs nothing.

    Args:
        parts: what to fill in.
        predict: see Predict; asked once a step.
        mask: the mask token, N.
        config: steps, schedule, noise and top_k.
        random: a generator a row; each draws the same numbers whatever the other rows are.
        on_step: called after each step with its number from 0 and the parts' tokens.
    """
    tokens = [part.tokens for part in parts]
    device = tokens[0].device
    first = [(part == mask).sum(dim=(2, 3)).cpu() for part in tokens]
    # How many are masked after each step, and before it (S, B, F).
    after = [schedule(n, part.shape[2] * part.shape[3], config) for n, part in zip(first, tokens, strict=True)]
    before = [torch.cat([n[None], rest[:-1]]) for n, rest in zip(first, after, strict=True)]
    reveals = torch.stack([(b != a).flatten(1).any(dim=1) for b, a in zip(before, after, strict=True)]).any(dim=0)
    sizes = [b.flatten(1).sum(dim=1).tolist() for b in before]
    counts = [a.to(device) for a in after]
    uniform = [uniforms((config.steps, 2, *part.shape[1:]), random, device) for part in tokens]
    for step, any_revealed in enumerate(reveals.tolist()):
        if any_revealed:
            places = [
                torch.nonzero_static((part == mask).flatten(), size=size[step]).squeeze(1)
                for part, size in zip(tokens, sizes, strict=True)
            ]
            logits = predict(tokens, places)
            tokens = [
                _reveal(part, at, out.float(), u[:, step], count[step], setting.temperature, mask, config)
                for part, at, out, u, count, setting in zip(tokens, places, logits, uniform, counts, parts, strict=True)
            ]
        if on_step is not None:
            on_step(step, tokens)
    return tokens


def _reveal(
    tokens: Int[Tensor, "B F h w"],
    at: Int[Tensor, " n"],
    logits: Float[Tensor, "n N"],
    uniform: Float[Tensor, "B 2 F h w"],
    counts: Int[Tensor, "B F"],
    temperature: float,
    mask: int,
    config: SamplingConfig,
) -> Int[Tensor, "B F h w"]:
    """`tokens` with those `at` drawn, and the `counts` least confident of each frame masked again."""
    for_draw, for_noise = uniform.unbind(dim=1)
    drawn = draw(logits, for_draw.flatten()[at], temperature, config.top_k)
    log_probability = logits.log_softmax(dim=-1).gather(-1, drawn[:, None]).squeeze(-1)
    noise = gumbel(for_noise.flatten()[at])
    confidence = torch.full_like(for_draw, torch.inf).flatten()
    confidence[at] = log_probability + config.confidence_noise * noise
    filled = tokens.flatten().clone()
    filled[at] = drawn
    again = least_confident(confidence.view(tokens.shape), counts)
    return torch.where(again, mask, filled.view(tokens.shape))


def schedule(first: Int[Tensor, "B F"], places: int, config: SamplingConfig) -> Int[Tensor, "S B F"]:
    """How many tokens of each frame are masked after each step, from how many are `first`; `places` at most."""
    table = [
        [masked_after(step, config.steps, n, config.schedule) for n in range(places + 1)]
        for step in range(config.steps)
    ]
    return torch.tensor(table)[:, first]


def draw(
    logits: Float[Tensor, "n N"], uniform: Float[Tensor, "n *samples"], temperature: float, top_k: int = 0
) -> Int[Tensor, "n *samples"]:
    """A token for each of `uniform`, from its row's softmax(logits / temperature) over the `top_k` likeliest (0: all).

    By the inverse of the cumulative distribution at `uniform` in [0, 1): one number a token, so that it is cheap to
    draw each clip's from its own generator. At temperature 0 the likeliest.
    """
    many = uniform if uniform.ndim == 2 else uniform[:, None]
    rows = max(1, AT_ONCE // logits.shape[-1])
    parts = zip(logits.split(rows), many.split(rows), strict=True)
    return torch.cat([_draw(part, numbers, temperature, top_k) for part, numbers in parts]).view(uniform.shape)


def _draw(
    logits: Float[Tensor, "n N"], uniform: Float[Tensor, "n r"], temperature: float, top_k: int
) -> Int[Tensor, "n r"]:
    if temperature == 0:
        return logits.argmax(dim=-1)[:, None].expand_as(uniform)
    scaled = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        scaled = scaled.masked_fill(scaled < scaled.topk(top_k, dim=-1).values[:, -1:], -torch.inf)
    # float64: at N = 16384 a float32 sum is off by more than the smallest probabilities.
    cumulative = scaled.double().softmax(dim=-1).cumsum(dim=-1)
    below = (uniform.double() * cumulative[:, -1:]).contiguous()  # searchsorted warns of a copy otherwise
    return torch.searchsorted(cumulative, below, right=True).clamp_max(logits.shape[-1] - 1)


def gumbel(uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Gumbel noise from uniform numbers in [0, 1)."""
    smallest = torch.finfo(torch.float32).tiny
    return -(-uniform.clamp_min(smallest).log()).clamp_min(smallest).log()


def least_confident(confidence: Float[Tensor, "B T h w"], counts: Int[Tensor, "B T"]) -> Bool[Tensor, "B T h w"]:
    """True at the `counts` least confident positions of each frame; among equals the first ones."""
    rank = confidence.flatten(2).argsort(dim=-1, stable=True).argsort(dim=-1)
    return (rank < counts[..., None]).view(confidence.shape)


def generators(seeds: Sequence[int], rows: int) -> list[torch.Generator]:
    """One for each row, by its seed."""
    if len(seeds) != rows:
        raise ValueError(f"{len(seeds)} seeds for {rows} clips; one each")
    return [generator(seed, "sampling") for seed in seeds]


def uniforms(
    shape: Sequence[int], random: Sequence[torch.Generator], device: torch.device
) -> Float[Tensor, "B *shape"]:
    """Uniform numbers in [0, 1), each row's from its own generator."""
    return torch.stack([torch.rand(tuple(shape), generator=one) for one in random]).to(device)
