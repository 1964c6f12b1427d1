"""Whether a training fits into a memory, and which settings would make it fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from moso.errors import ConfigError
from moso.planning.memory import stage_memory
from moso.planning.plan import StagePlan, gibibytes
from moso.planning.stages import SECTIONS, Experiment, Stage


def check_fits(experiment: Experiment, stage: Stage, plan: StagePlan, device: torch.device, free: int) -> None:
    """Refuse a plan that takes more than `free` bytes.

    Raises:
        ConfigError: names settings that would fit, if any does.
    """
    if plan.needed <= free:
        return
    field = f"{SECTIONS[stage]}.training.batch"
    rule = f"takes {gibibytes(plan.needed)} of memory, and {gibibytes(free)} are free on {device}"
    found = [
        " with ".join(f"{name} {_word(value)}" for name, value in changes.items()) + f" ({gibibytes(size)})"
        for changes, size in remedies(experiment, stage, plan, device, free)
    ]
    if found:
        remedy = f"what would fit: {', '.join(found)}"
    else:
        least = needed(experiment, stage, device, batch=1, accumulation=1, recompute=True)
        remedy = f"even a batch of 1 with recompute takes {gibibytes(least)}: take a larger machine"
    raise ConfigError(field, plan.batch, rule, remedy)


def remedies(
    experiment: Experiment, stage: Stage, plan: StagePlan, device: torch.device, free: int
) -> Iterator[tuple[dict[str, Any], int]]:
    """Settings of the training that would fit into `free` bytes, and what each takes.

    Those that keep the batch come first: fewest parts (accumulation, into which the batch divides), recompute, both
    where neither is enough; then the largest batch, and that with recompute where nothing keeps the batch.
    Accumulation is passed over where the objective refuses it.
    """
    training = experiment.training[stage]
    fitting, takes = largest_batch(experiment, stage, device, plan, free)
    more = [n for n in range(training.accumulation + 1, training.batch + 1) if training.batch % n == 0]
    kept = False
    if fitting:
        several = [n for n in more if training.batch // n <= fitting]
        for found in _that_fits(experiment, stage, device, free, several):
            kept = True
            yield found
    if not training.recompute:
        size = needed(experiment, stage, device, recompute=True)
        if size <= free:
            kept = True
            yield {"recompute": True}, size
    if not kept and not training.recompute:
        for least in _that_fits(experiment, stage, device, free, more[-1:], recompute=True):
            kept = True
            yield next(_that_fits(experiment, stage, device, free, more[:-1], recompute=True), least)
    if fitting:
        yield {"batch": fitting}, takes
    if not kept and not training.recompute:
        larger, takes = largest_batch(experiment, stage, device, plan, free, recompute=True)
        if larger > fitting:
            yield {"batch": larger, "recompute": True}, takes


def largest_batch(
    experiment: Experiment, stage: Stage, device: torch.device, plan: StagePlan, free: int, **changes: Any
) -> tuple[int, int]:
    """The largest batch below the plan's that takes at most `free` bytes, and what it takes; or 0, and what a batch of
    1 takes.

    Memory is nearly linear in the batch: each guess is a straight line's, and is counted.

    Args:
        changes: of other settings, with which the plan's batch takes more than `free` too.
    """

    def of(batch: int) -> int:
        parts = min(batch, experiment.training[stage].accumulation)
        return needed(experiment, stage, device, batch=batch, accumulation=parts, **changes)

    least = of(1) if plan.batch > 1 or changes else plan.needed
    if least > free:
        return 0, least
    low, low_bytes, high = 1, least, plan.batch
    high_bytes = of(high) if changes else plan.needed
    while high - low > 1:
        guess = low + int((high - low) * (free - low_bytes) / max(high_bytes - low_bytes, 1))
        guess = min(max(guess, low + 1), high - 1)
        found = of(guess)
        if found <= free:
            low, low_bytes = guess, found
        else:
            high, high_bytes = guess, found
    return low, low_bytes


def needed(experiment: Experiment, stage: Stage, device: torch.device, **changes: Any) -> int:
    """Bytes on the device with other settings of the loop."""
    return stage_memory(experiment.with_training(stage, **changes), stage, device).on_device(device)


def _that_fits(
    experiment: Experiment, stage: Stage, device: torch.device, free: int, several: Iterable[int], **changes: Any
) -> Iterator[tuple[dict[str, Any], int]]:
    """The first of `several` accumulations that fits."""
    for parts in several:
        found = {"accumulation": parts, **changes}
        try:
            size = needed(experiment, stage, device, **found)
        except ConfigError:  # an adaptive adversarial weight knows no parts
            return
        if size <= free:
            yield found, size
            return


def _word(value: object) -> str:
    return str(value).lower()
