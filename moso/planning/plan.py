"""The plan of a preset's two trainings: sizes, memory, time, disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from moso.device import wait_for
from moso.parameters import count_parameters
from moso.planning.fake import fake_tensors
from moso.planning.memory import StageMemory, regimes, stage_memory
from moso.planning.stages import Experiment, Stage, make_objective
from moso.planning.trial import Trial
from moso.tokens.store import stored_arrays, token_dtype
from moso.training import precision
from moso.training.config import TrainingConfig
from moso.training.flops import measured_peak

UTILISATION = 0.5
"""Share of a large matrix product's speed that a step is taken to reach where it is not measured. About what
the embedded run's trainings reach (docs/performance.md)."""


@dataclass(frozen=True)
class StagePlan:
    """One training.

    Attributes:
        parameters: trained numbers of the network.
        training: its settings.
        precision: what they come to on the device.
        per_sample: what a sample counts: images or tokens.
        memory: see StageMemory.
        needed: bytes on the device.
        step_s: seconds of a step, the mean over the training's.
        validation_s: seconds of a validation, 0 where there is none: estimated from the speed of the steps.
        measured: real steps of each kind that `step_s` is the time of; 0: it is estimated.
        measured_batch: samples a step that they had; where that is less than the batch, `step_s` is their time in
            proportion: at most what the whole takes, for the optimizer's share does not grow with the batch.
        kinds: of step that the training has (see `regimes`).
        disk: bytes of the checkpoints that are kept, the best among them, one being written beside them.
    """

    parameters: int
    training: TrainingConfig
    precision: str
    per_sample: Mapping[str, int]
    memory: StageMemory
    needed: int
    step_s: float
    validation_s: float
    measured: int
    measured_batch: int
    kinds: int
    disk: int

    @property
    def batch(self) -> int:
        """Samples a step."""
        return self.training.batch

    @property
    def steps(self) -> int:
        """Of the loop."""
        return self.training.steps

    @property
    def validations(self) -> int:
        """How many there are, the last step's included."""
        every = self.training.validate_every
        return -(-self.steps // every) if every else 0

    @property
    def total_s(self) -> float:
        """Seconds of all steps and validations; neither the start nor checkpoints are counted."""
        return self.step_s * self.steps + self.validation_s * self.validations

    def with_step(self, seconds: float, measured: int, batch: int) -> StagePlan:
        """The same with the time that a step of `batch` samples was found to take."""
        step_s = seconds * self.batch / batch
        validation_s = self.validation_s * step_s / self.step_s
        return replace(self, step_s=step_s, validation_s=validation_s, measured=measured, measured_batch=batch)

    def batch_within(self, seconds: float, steps: int) -> int:
        """The batch, or the largest of its halves, of which `steps` of each kind take less by the estimate; 0: none."""
        batch = self.batch
        while batch and self.kinds * steps * self.step_s * batch / self.batch >= seconds:
            batch //= 2
        return batch


def plan_stage(
    experiment: Experiment, stage: Stage, device: torch.device, *, flops_per_s: float | None = None
) -> StagePlan:
    """The plan of a stage, its time estimated from the device's speed; nothing is trained.

    Args:
        flops_per_s: of the device; None: of a large matrix product in the training's precision, measured here.

    Raises:
        ConfigError, MosoError: see `stage_memory`.
    """
    training = experiment.training[stage]
    memory = stage_memory(experiment, stage, device)
    name = precision.choose(training.precision, device).name
    speed = UTILISATION * (flops_per_s or measured_peak(device, name))
    grids = experiment.store.grids
    return StagePlan(
        parameters=parameters(experiment, stage),
        training=training,
        precision=name,
        per_sample={"images": experiment.vqvae.frames} if stage == "vqvae" else {"tokens": grids.tokens},
        memory=memory,
        needed=memory.on_device(device),
        step_s=memory.flops / speed,
        validation_s=memory.validation_flops / speed,
        measured=0,
        measured_batch=0,
        kinds=_kinds(experiment, stage),
        # the newest, the best, and the one that is being written
        disk=memory.saved * (training.keep_checkpoints + int(training.keep_best) + 1),
    )


def parameters(experiment: Experiment, stage: Stage) -> int:
    """Trained numbers of a stage's network."""
    with fake_tensors():
        return count_parameters(make_objective(experiment, stage, torch.device("cpu")).module)


def _kinds(experiment: Experiment, stage: Stage) -> int:
    with fake_tensors():
        objective = make_objective(experiment, stage, torch.device("cpu"))
    return len(regimes(objective, experiment.training[stage].steps))


def measure_step(experiment: Experiment, stage: Stage, device: torch.device, steps: int) -> float:
    """Seconds of a real step on random data, the mean over the training's kinds of step (see `regimes`).

    Of each kind the shortest of `steps`, behind one that warms up.
    """
    training = experiment.training[stage]
    objective = make_objective(experiment, stage, device)
    trial, mean = Trial(objective, training, device), 0.0
    for regime, count in regimes(objective, training.steps).items():
        trial.step(regime)
        seconds = []
        for _ in range(steps):
            wait_for(device)
            start = time.perf_counter()
            trial.step(regime)
            wait_for(device)
            seconds.append(time.perf_counter() - start)
        mean += min(seconds) * count / training.steps
    return mean


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
