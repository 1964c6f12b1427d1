"""The plan of a preset's two trainings: sizes, memory, time, disk, and the batch that fits where theirs does not."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from moso.errors import ConfigError
from moso.parameters import count_parameters
from moso.planning.fake import fake_tensors
from moso.planning.memory import StageMemory, regimes, stage_memory
from moso.planning.stages import SECTIONS, Experiment, Stage, make_objective
from moso.planning.trial import Trial
from moso.tokens.store import stored_arrays, token_dtype

UTILISATION = 0.5
"""Share of a large matrix product's speed that a step is taken to reach where it is not measured. No source but the
figures in docs/plan.md."""
PRODUCT = 1024
"""Rows of the matrices whose product tells the device's speed."""


@dataclass(frozen=True)
class StagePlan:
    """One training.

    Attributes:
        parameters: trained numbers of the network.
        batch, steps: of the loop.
        memory: see StageMemory.
        needed: bytes on the device.
        step_s: seconds of a step.
        measured: whether that was measured on real steps, or estimated.
        disk: bytes of the checkpoints that are kept, one being written beside them.
    """

    parameters: int
    batch: int
    steps: int
    memory: StageMemory
    needed: int
    step_s: float
    measured: bool
    disk: int

    @property
    def total_s(self) -> float:
        """Seconds of all steps, without validations."""
        return self.step_s * self.steps


def plan_stage(experiment: Experiment, stage: Stage, device: torch.device, *, flops_per_s: float) -> StagePlan:
    """The plan of a stage, its time estimated from the device's speed; nothing is trained.

    Raises:
        ConfigError, MosoError: see `stage_memory`.
    """
    training = experiment.training[stage]
    memory = stage_memory(experiment, stage, device)
    return StagePlan(
        parameters=parameters(experiment, stage),
        batch=training.batch,
        steps=training.steps,
        memory=memory,
        needed=memory.on_device(device),
        step_s=memory.flops / (UTILISATION * flops_per_s),
        measured=False,
        disk=memory.saved * (training.keep_checkpoints + 1),
    )


def parameters(experiment: Experiment, stage: Stage) -> int:
    """Trained numbers of a stage's network."""
    with fake_tensors():
        return count_parameters(make_objective(experiment, stage, torch.device("cpu")).module)


def check_fits(experiment: Experiment, stage: Stage, plan: StagePlan, device: torch.device, free: int) -> None:
    """Refuse a plan that takes more than `free` bytes.

    Raises:
        ConfigError: names the batch that would fit, if one does.
    """
    if plan.needed <= free:
        return
    field = f"{SECTIONS[stage]}.training.batch"
    rule = f"takes {gibibytes(plan.needed)} of memory, and {gibibytes(free)} are free on {device}"
    fitting, least = largest_batch(experiment, stage, device, plan, free)
    remedy = f"{fitting} would fit" if fitting else f"a batch of 1 takes {gibibytes(least)}: take a larger machine"
    raise ConfigError(field, plan.batch, rule, remedy)


def largest_batch(
    experiment: Experiment, stage: Stage, device: torch.device, plan: StagePlan, free: int
) -> tuple[int, int]:
    """The largest batch below the plan's that takes at most `free` bytes, 0 where none does; and what a batch of 1
    takes.

    Memory is nearly linear in the batch: each guess is a straight line's, and is counted.
    """

    def needed(batch: int) -> int:
        return stage_memory(experiment.with_batch(batch, stage), stage, device).on_device(device)

    least = needed(1) if plan.batch > 1 else plan.needed
    if least > free:
        return 0, least
    low, low_bytes, high, high_bytes = 1, least, plan.batch, plan.needed
    while high - low > 1:
        guess = low + int((high - low) * (free - low_bytes) / max(high_bytes - low_bytes, 1))
        guess = min(max(guess, low + 1), high - 1)
        found = needed(guess)
        if found <= free:
            low, low_bytes = guess, found
        else:
            high, high_bytes = guess, found
    return low, least


def measure_step(experiment: Experiment, stage: Stage, device: torch.device, steps: int) -> float:
    """Seconds of a real step on random data: the shortest of `steps`, behind one that warms up; the heaviest regime."""
    training = experiment.training[stage]
    objective = make_objective(experiment, stage, device)
    trial, slowest = Trial(objective, training, device), 0.0
    for regime in regimes(objective, training.steps):
        trial.step(regime)
        seconds = []
        for _ in range(steps):
            _wait(device)
            start = time.perf_counter()
            trial.step(regime)
            _wait(device)
            seconds.append(time.perf_counter() - start)
        slowest = max(slowest, min(seconds))
    return slowest


def device_speed(device: torch.device, at_least_s: float = 0.2) -> float:
    """FLOPs a second of a large float32 matrix product on the device."""
    a = torch.ones(PRODUCT, PRODUCT, device=device)
    b = a @ a
    _wait(device)
    best, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < at_least_s:
        before = time.perf_counter()
        torch.mm(a, a, out=b)
        _wait(device)
        best = max(best, 2 * PRODUCT**3 / (time.perf_counter() - before))
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def token_bytes(experiment: Experiment, clips: int) -> int:
    """Bytes of the token store of so many clips, its tables left out."""
    store = experiment.store
    of_a_clip = sum(
        int(np.prod(store.grids.shape(name.removeprefix("pseudo_")))) for name in stored_arrays(store.grids)
    )
    codebook = 4 * experiment.vqvae.codebook_size * experiment.vqvae.code_dimension
    return clips * of_a_clip * token_dtype(store.codebook_size).itemsize + codebook


def cache_bytes(experiment: Experiment, frames: int) -> int:
    """Bytes of the cache of so many frames, its tables left out."""
    return frames * experiment.vqvae.height * experiment.vqvae.width * 3


def gibibytes(size: int) -> str:
    """'1.24 GiB', or '87 MiB' below one."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
