"""A plan as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from moso.planning.memory import PROCESS
from moso.planning.plan import StagePlan, cache_bytes, gibibytes, token_bytes
from moso.planning.stages import SECTIONS, Experiment, Stage


def data_lines(experiment: Experiment, clips: int, frames: int | None) -> Iterator[str]:
    """What so many clips take; `frames` of the cache, by default the clips' in a row."""
    config = experiment.vqvae
    count, tokens = clips * config.frames if frames is None else frames, config.grids.tokens
    yield f"clips        {config.frames} frames of {config.height} x {config.width}, {experiment.given_frames} given"
    yield f"tokens       {tokens:,} a clip, {tokens * clips:,} in {clips:,} clips"
    yield (
        f"disk         {gibibytes(cache_bytes(experiment, count))} for a cache of {count:,} frames, "
        f"{gibibytes(token_bytes(experiment, clips))} for the tokens"
    )


def stage_lines(plans: Mapping[Stage, StagePlan], device: torch.device) -> Iterator[str]:
    """Each training."""
    gpu = device.type == "cuda"
    for stage, plan in plans.items():
        memory = plan.memory
        parts = {
            "weights": memory.weights,
            "gradients": memory.gradients,
            "optimizer": memory.optimizer,
            "average": memory.average,
            "activations": memory.activations,
            "scattered in the heap": 0 if gpu else memory.scattered,
            "the process": 0 if gpu else PROCESS,
        }
        yield ""
        yield f"{SECTIONS[stage]}"
        yield f"  parameters {plan.parameters:,}"
        yield f"  memory     {gibibytes(plan.needed)} at a batch of {plan.batch}"
        yield "             in a step: " + ", ".join(f"{gibibytes(n)} {what}" for what, n in parts.items() if n)
        if memory.checkpoint > memory.step:
            of = " of main memory" if gpu else ""
            yield f"             writing a checkpoint takes more: {gibibytes(memory.checkpoint)}{of}"
        how = "measured on random data" if plan.measured else "estimated"
        yield f"  time       {plan.step_s:.3g} s a step ({how}), {duration(plan.total_s)} for {plan.steps:,} steps"
        yield f"  disk       {gibibytes(plan.disk)} for checkpoints"


def duration(seconds: float) -> str:
    """'42 s', '3.5 min', '7.2 h' or '12.1 days'."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"
