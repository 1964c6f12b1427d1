"""The memory of a stage's training: its steps run on fake tensors, their storages counted.

A step is run as the loop runs it, by the switches of its settings, in every regime that they have (with Algorithm 1
before the encoders, with the discriminators), a validation and the writing of a checkpoint. Nothing of that is
allocated; what a process takes beside it is measured (moso.planning.process).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moso.planning.fake import fake_tensors
from moso.planning.meter import MemoryMeter
from moso.planning.process import process_bytes
from moso.planning.stages import VALIDATED, Experiment, Stage, make_objective, validation_clips
from moso.planning.trial import Trial
from moso.training.checkpoint import writable
from moso.training.flops import Flops
from moso.vqvae.objective import VQVAEObjective

DRAWS = 1 << 18
"""Random masks that the fullest batch is looked for among, at most."""


@dataclass(frozen=True)
class StageMemory:
    """Bytes that a stage's training takes.

    Attributes:
        weights: of the modules that are trained, and of frozen ones (a perceptual loss's network).
        gradients: of all that is trained.
        optimizer: moments and counters.
        average: of the average of the weights.
        step: most that lives during a step, the four above included.
        validation: the same during a validation; 0 where there is none.
        snapshot: in main memory, of what is saved, which stays there for `background_checkpoints`; 0 without them.
        writing: copies in main memory while a checkpoint is written, of the group that needs most, without that (see
            moso.training.checkpoint.writable): what is contiguous on a CPU needs none.
        batches: prepared batches in the host's memory.
        flops: of a step, forward and backward and what is computed again, the mean over the training's steps.
        validation_flops: of a validation.
        saved: of a checkpoint on disk.
        scattered: what a CPU's heap holds beyond what lives, at the fullest moment (see MemoryMeter).
        process: of a process on a CPU without all this, measured here; 0 on a GPU.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    step: int
    validation: int
    snapshot: int
    writing: int
    batches: int
    flops: float
    validation_flops: float
    saved: int
    scattered: int
    process: int

    @property
    def kept(self) -> int:
        """What lives from step to step."""
        return self.weights + self.gradients + self.optimizer + self.average

    @property
    def activations(self) -> int:
        """What a step takes beyond that."""
        return self.step - self.kept

    def on_device(self, device: torch.device) -> int:
        """Bytes of the device's memory; on a CPU of main memory, the process included.

        On a GPU this is what torch.cuda.max_memory_allocated says; the context and cuDNN's workspaces come on top.
        """
        tensors = max(self.step, self.validation)
        if device.type == "cuda":
            return tensors
        always = self.process + self.batches + self.scattered + self.snapshot
        return always + max(tensors, self.kept + self.writing)


def stage_memory(experiment: Experiment, stage: Stage, device: torch.device) -> StageMemory:
    """The memory that training `stage` takes, without taking it.

    Raises:
        ConfigError: a setting that does not fit, or a precision that the device does not have.
        MosoError: the perceptual loss is on and lpips is not installed.
    """
    training, share = experiment.training[stage], masked_share(experiment, stage)
    if training.accumulation <= 3:
        return _counted(experiment, stage, device, share)
    # Each part after the second adds as much: what it keeps for the step's end.
    parts, size = training.accumulation, -(-training.batch // training.accumulation)
    two, three = (
        dataclasses.asdict(
            _counted(experiment.with_training(stage, batch=n * size, accumulation=n), stage, device, share)
        )
        for n in (2, 3)
    )
    found = {name: value + (parts - 2) * (three[name] - value) for name, value in two.items()}
    found["flops"] *= training.batch / (size * parts)  # of uneven parts
    return StageMemory(**found)


def _counted(experiment: Experiment, stage: Stage, device: torch.device, share: float) -> StageMemory:
    """By steps on fake tensors; `share`: of motion tokens that are masked."""
    training = experiment.training[stage]
    with fake_tensors(), MemoryMeter(share) as meter:
        objective = make_objective(experiment, stage, device)
        trial = Trial(objective, training, device)
        weights, flops, validation_flops = meter.live, 0.0, 0.0
        steps = regimes(objective, training.steps)
        trial.settle()  # the first step finds no moments yet; all others do
        modules = [objective.module, *(rival.module for rival in objective.rivals)]
        meter.restart()
        for step, count in steps.items():
            with Flops(again=True) as counter:
                trial.step(step)
            flops += counter.total * count / training.steps
        peak, kept, held, rest = meter.peak, meter.live, meter.held_peak, meter.held
        meter.restart()
        if training.validate_every:
            clips = validation_clips(experiment, stage)
            with Flops() as counter:
                trial.validate()
            validation_flops = counter.total * (
                clips / validation_clips(experiment, stage, VALIDATED[stage]) if clips else 0
            )
        validation = meter.peak if training.validate_every else 0

        rivals = list(zip(trial.rivals, modules[1:], strict=True))
        states = [trial.optimizer.state(), *(optimizer.state() for (_, optimizer), _ in rivals)]
        average = trial.average.tensors if trial.average else {}
        groups = [*(module.state_dict() for module in modules), *states, average]
        background, saved = training.background_checkpoints, sum(_bytes(group.values()) for group in groups)
        writing = 0 if background else max(_copied(group, meter) for group in groups)
        gradients = _bytes(p.grad for module in modules for p in module.parameters() if p.grad is not None)
        batch = objective.prepare(trial.dealt(0))
        one = batch.nbytes if isinstance(batch, Tensor) else _bytes(_tensors(batch))
    return StageMemory(
        weights=weights - _bytes(average.values()),
        gradients=gradients,
        optimizer=sum(_bytes(state.values()) for state in states),
        average=_bytes(average.values()),
        step=peak,
        validation=validation,
        snapshot=saved if background else 0,
        writing=writing,
        batches=one * (training.prefetch + 2 if training.prefetch else 1),
        flops=flops,
        validation_flops=validation_flops,
        saved=saved,
        scattered=max(0, round(held - rest) - (peak - kept)),
        process=process_bytes(stage, training.recompute) if device.type == "cpu" else 0,
    )


def regimes(objective: object, steps: int) -> dict[int, int]:
    """A step of each kind that a training of so many steps has, in order, and how many steps are of its kind."""
    if not isinstance(objective, VQVAEObjective):
        return {0: steps}
    until = objective.config.preprocessing.until_step
    start = objective.loss_config.adversarial.from_step if objective.rivals else 0
    borders = sorted({0, *(step for step in (until, start) if 0 < step < steps)})
    return {first: end - first for first, end in zip(borders, [*borders[1:], steps], strict=True)}


def masked_share(experiment: Experiment, stage: Stage) -> float:
    """The share of a batch's, or its part's, motion tokens that its fullest step masks; given frames have none."""
    training, store = experiment.training[stage], experiment.store
    parts = training.accumulation
    share = fullest_share(-(-training.batch // parts), training.steps * parts)
    if experiment.transformer.wiring == "single" or experiment.transformer_loss.unconditional_share:
        return share  # of scene and object as of motion, or with nothing given: no less
    return share * (1 - store.given_motion_frames / store.grids.frames)


def fullest_share(batch: int, steps: int) -> float:
    """The share of motion tokens that are masked in the fullest of `steps` batches, as far as random draws tell.

    A clip's share is cos(pi r / 2) with r uniform in [0, 1) (moso.transformer.masking): 2 / pi on average.
    """
    batches = max(1, min(steps, DRAWS // batch))
    draws = torch.rand(batches, batch, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return float((draws * (math.pi / 2)).cos().mean(1).max())


def _tensors(batch: object) -> Iterable[Tensor]:
    for value in vars(batch).values():
        if isinstance(value, Tensor):
            yield value
        elif hasattr(value, "__dict__"):
            yield from _tensors(value)


def _copied(group: Mapping[str, Tensor], meter: MemoryMeter) -> int:
    """Bytes of the copies that writing these tensors takes."""
    before = meter.live
    plain = writable(group)
    return meter.live - before if plain else 0


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
