"""A plan as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

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
            "the snapshot of checkpoints": 0 if gpu else memory.snapshot,
            "scattered in the heap": 0 if gpu else memory.scattered,
            "the process": 0 if gpu else memory.process,
        }
        yield ""
        yield f"{SECTIONS[stage]}"
        yield f"  parameters {plan.parameters:,}"
        yield f"  settings   {'; '.join(settings(plan))}"
        (counted, count), samples = next(iter(plan.per_sample.items())), plan.batch * plan.steps
        yield f"  samples    {samples:,} clips in {plan.steps:,} steps, {samples * count:,} {counted}"
        yield f"  memory     {gibibytes(plan.needed)}"
        yield "             in a step: " + ", ".join(f"{gibibytes(n)} {what}" for what, n in parts.items() if n)
        if gpu:
            yield f"             checkpoints take {gibibytes(memory.snapshot + memory.writing)} of main memory"
        elif memory.kept + memory.writing > memory.step:
            yield f"             writing a checkpoint takes more: {gibibytes(memory.kept + memory.writing)}"
        how = f"measured, {plan.measured} of each kind on random data" if plan.measured else "estimated"
        if 0 < plan.measured_batch < plan.batch:
            how += f", at a batch of {plan.measured_batch}, in proportion: at most"
        rate = f"{per_second(plan.batch * count / plan.step_s)} {counted}/s"
        also = f" and {plan.validations:,} validations" if plan.validations else ""
        yield f"  time       {plan.step_s:.3g} s a step ({how}), {rate}"
        yield f"             {duration(plan.total_s)} for {plan.steps:,} steps{also}"
        yield f"  disk       {gibibytes(plan.disk)} for checkpoints"


def settings(plan: StagePlan) -> Iterator[str]:
    """The settings that memory and time depend on."""
    training = plan.training
    yield f"batch {plan.batch}" + (f" in {training.accumulation} parts" if training.accumulation > 1 else "")
    yield f"precision {plan.precision}"
    if training.recompute:
        yield "activations recomputed"
    if not training.fused_attention:
        yield "attention not fused"
    if training.compile:
        yield "compiled, which this plan does not know: it is of the same without"


def duration(seconds: float) -> str:
    """'42 s', '3.5 min', '7.2 h' or '12.1 days'."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"


def per_second(rate: float) -> str:
    """'0.52', '35.7' or '4,770'."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
