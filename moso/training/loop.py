"""The training loop of both stages: from the newest checkpoint, or from the start, to the last step.

A training that was killed and goes on gives the weights, bit for bit on a CPU, of one that was not: the order of the
data, the random numbers and the schedule are functions of the step, and the checkpoint holds all else. Times (rate,
waiting for data) go to the progress bar and the tracker, never into the history, which equal runs share.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from moso.config import flat, to_dict
from moso.errors import CheckpointError, ConfigError, MosoError, StopRequested
from moso.progress import Progress
from moso.provenance import git_commit
from moso.step import Context
from moso.tracking import NullTracker
from moso.training import precision, restoring
from moso.training.average import WeightAverage
from moso.training.config import TrainingConfig
from moso.training.flops import Flops, measured_peak
from moso.training.history import History, record
from moso.training.objective import Objective, Rival
from moso.training.optimizer import ModuleOptimizer
from moso.training.pinning import pinned
from moso.training.prefetch import Batches
from moso.training.random import key_seed
from moso.training.sampler import Sample, samples
from moso.training.saving import Saving
from moso.training.schedule import rate_factor
from moso.training.settings import torch_settings
from moso.training.speed import Speed
from moso.training.state import TrainingState
from moso.training.switches import compiling, switch_
from moso.training.trace import Trace
from moso.training.update import NotFinite, Updates
from moso.training.work import WorkFolder
from moso.training.world import Solo, World, broadcast_
from moso.training.writing import CheckpointWriter

SOLO = Solo()


class NotFiniteError(MosoError):
    """The loss or its gradient became infinite or undefined."""


def train(
    objective: Objective,
    config: TrainingConfig,
    *,
    seed: int,
    work: WorkFolder,
    context: Context,
    title: str,
    identity: Mapping[str, Any],
    world: World = SOLO,
) -> History:
    """Train `objective.module` to the end of `config.steps`, on the device it lies on, and return the curve.

    Afterwards the module holds the result (with ema_decay the average), and `work` a checkpoint of it: called again, it
    ends at once with the same result. Every worker of `world` calls it with the same arguments; the history of rank 0
    alone holds the validation's figures.

    Args:
        objective: what is trained.
        config: how.
        seed: of the order and of all random numbers.
        work: where checkpoints lie; rank 0 holds it meanwhile, the others never look at it.
        context: tracker (of which rank 0 makes use), stop signal, on_checkpoint and restore.
        title: name of the progress bar and of the tracked run.
        identity: `run_identity` of the step: a checkpoint of another one is refused, and the tracker gets it.
        world: the workers, for a step its context's; a batch is dealt to them and their gradients are averaged.

    Raises:
        StopRequested: the stop signal was raised (on any worker); a checkpoint has been written.
        NotFiniteError: the loss or the gradient is not finite; the weights of the last checkpoint are.
        CheckpointError: `work` is held by another process, its checkpoint belongs to another run, or one could not be
            written (a full disk, say): raised at the next checkpoint's step at the latest.
        ConfigError: a precision that the device does not have, or fewer samples in a batch than workers.
    """
    if config.batch < world.size:
        raise ConfigError("batch", config.batch, f"is less than the number of workers, {world.size}")
    with contextlib.ExitStack() as stack:
        if world.rank == 0:
            stack.enter_context(work)
        device = next(objective.module.parameters()).device
        stack.enter_context(torch_settings(device, config.deterministic))
        stack.enter_context(compiling(config.compile))
        writer = None
        if world.rank == 0:
            writer = CheckpointWriter(work.checkpoints, config.keep_checkpoints, config.background_checkpoints)
            stack.enter_context(writer)
        return _Training(objective, config, seed, work, context, world, title, identity, device, writer).run()


_NOTHING = contextlib.nullcontext()


class _Training:
    """The moving parts of one call of `train`."""

    def __init__(
        self,
        objective: Objective,
        config: TrainingConfig,
        seed: int,
        work: WorkFolder,
        context: Context,
        world: World,
        title: str,
        identity: Mapping[str, Any],
        device: torch.device,
        writer: CheckpointWriter | None,
    ) -> None:
        self.objective, self.config, self.seed, self.work = objective, config, seed, work
        self.world, self.title, self.identity, self.device = world, title, identity, device
        if config.accumulation > config.batch // world.size:
            rule = f"each of {world.size} workers gets {config.batch // world.size} samples of a batch, or one more"
            raise ConfigError("accumulation", config.accumulation, rule, "lower it")
        self.restore, self.writer = context.restore, writer
        self.saving = Saving(writer, config.background_checkpoints, context.on_checkpoint, world, device)
        self.tracker = context.tracker if world.rank == 0 else NullTracker()
        for module in (objective.module, *(rival.module for rival in objective.rivals)):
            switch_(module, config)
            if config.channels_last:
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if world.size > 1:
                for tensor in module.state_dict().values():
                    broadcast_(tensor, world)
        self.precision = precision.choose(config.precision, device)
        self.updates = Updates(
            config.gradient_clip, world, device, self.precision.scaler(device), lambda: bool(context.stop)
        )
        self.optimizer = ModuleOptimizer(objective.module, config.optimizer)
        self.rivals = {rival.name: ModuleOptimizer(rival.module, rival.optimizer) for rival in objective.rivals}
        self.average = WeightAverage(objective.module, config.ema_decay) if config.ema_decay else None
        self.state = TrainingState(
            objective,
            self.optimizer,
            self.rivals,
            self.average,
            self.updates.scaler,
            {"run": to_dict(identity), "training": to_dict(config), "seed": seed},
            config.batch,
            judged=config.keep_best,
        )
        self.rate = 0.0

    def run(self) -> History:
        """Restore, train, and leave the result in the module."""
        self._restore()
        run = {"config": to_dict(self.config), **to_dict(self.identity)}
        about = {name: value for name, value in run.items() if name != "config"}
        tags = {name: str(value) for name, value in flat({**about, "git_commit": git_commit()}).items()}
        params = {**flat(run["config"]), "seed": self.seed, "precision": self.precision.name}
        self.state.run_id = self.tracker.start(self.title, run_id=self.state.run_id, params=params, tags=tags)
        status = "FAILED"
        try:
            self._steps()
            if self.average:
                self.average.copy_to_module()
            self.objective.module.eval()
            if self.state.history:
                self.tracker.summary({k: v for k, v in self.state.history[-1].items() if k != "step"})
            self.world.barrier()
            status = "FINISHED"
        except StopRequested:
            status = "KILLED"
            raise
        finally:
            self.tracker.finish(status)
        return self.state.history

    def _steps(self) -> None:
        config = self.config
        if self.state.done == config.steps:
            return
        print(f"{self.title}: precision {self.precision.reason}", file=sys.stderr, flush=True)
        for rival in self.objective.rivals:
            if rival.from_step >= config.steps and self.world.rank == 0:
                # no error: a short trial of a paper's preset is one
                print(
                    f"{self.title}: {rival.name} is never trained and its term is left out: it begins with step "
                    f"{rival.from_step} and the training has {config.steps}; lower its from_step to have it",
                    file=sys.stderr,
                    flush=True,
                )
        peak = config.peak_tflops * 1e12 or measured_peak(self.device, self.precision.name)
        speed = Speed(self.objective.per_sample, config.batch, self.device, peak)
        batches = Batches(self._deal, self._prepare, self.state.done, config.steps, config.prefetch)
        folder = self.work.folder  # which goes with the end of the training: traces stay beside it
        trace = Trace(
            config.profile_steps if self.world.rank == 0 else 0,
            folder.parent / "traces" / f"{folder.name}_step_{self.state.done}.json",
            self.device,
        )
        with batches, trace, Progress(self.title, config.steps, "step", done=self.state.done) as progress:
            asked = time.monotonic()
            for dealt, batch in batches:
                got = time.monotonic()
                figures, stopping = self._counted_step(batch, dealt)
                self.state.done += 1
                trace.step()
                self.state.means.add(figures)
                speed.add(got - asked, time.monotonic() - got)
                progress.advance(1, f"loss {figures['loss']:.4f}  {speed.rate:.1f} samples/s")
                last = self.state.done == config.steps
                if last or self.state.done % config.log_every == 0:
                    row = {**self.state.means.take(), "learning_rate": self.rate}
                    record(self.state.history, self.state.done, row)
                    speed.flops = self.state.flops
                    self.tracker.metrics({**row, **speed.take()}, self.state.done)
                if config.validate_every and (last or self.state.done % config.validate_every == 0):
                    self._validate()
                if last or stopping or self.state.done % config.checkpoint_every == 0:
                    self._save(last or stopping)
                if stopping and not last:
                    raise StopRequested(
                        f"{self.title}: stopped after step {self.state.done} of {config.steps}; rerun to go on"
                    )
                asked = time.monotonic()
        if self.world.rank == 0 and (said := speed.summary()):
            print(f"{self.title}: {said}", file=sys.stderr, flush=True)

    def _prepare(self, dealt: Sequence[Sample]) -> Any:
        batch = self.objective.prepare(dealt)
        return pinned(batch) if self.config.pin_memory and self.device.type == "cuda" else batch

    def _deal(self, step: int) -> list[Sample]:
        return samples(self.seed, self.objective.size, step * self.config.batch, self.config.batch, self.world)

    def _counted_step(self, batch: Any, dealt: list[Sample]) -> tuple[dict[str, float], bool]:
        """A step, whose FLOPs are counted where they are not known yet: at the first one, and where a rival begins.

        What is counted is not compiled; the count is in the checkpoint, so that a resumed run counts at no other step.
        """
        begins = any(rival.from_step == self.state.done for rival in self.objective.rivals)
        if self.state.flops is not None and not begins:
            return self._step(batch, dealt)
        uncompiled = torch.compiler.set_stance("force_eager") if self.config.compile else contextlib.nullcontext()
        counter = Flops()
        with uncompiled:
            result = self._step(batch, dealt, counter)
        self.state.flops = counter.total
        return result

    def _step(
        self, batch: Any, dealt: list[Sample], counter: AbstractContextManager[Any] = _NOTHING
    ) -> tuple[dict[str, float], bool]:
        """One step: its figures, the same on every worker, and whether any worker was asked to stop.

        `counter` is entered for what the models compute, forward and backward; optimizers are no part of that.
        """
        config, world, objective, step = self.config, self.world, self.objective, self.state.done
        objective.module.train()
        torch.manual_seed(key_seed(self.seed, "global", step, world.rank))  # dropout draws from the global generator
        objective.before_step(step, world)
        factor = rate_factor(step, config)
        self.rate = self.optimizer.set_rate(factor)
        self.optimizer.zero_grad()
        whole = [(batch, dealt)]
        parts = whole if config.accumulation == 1 else objective.parts(batch, dealt, config.accumulation)
        for part, of in parts:
            with counter:
                with self.precision.autocast(self.device):
                    loss, extra = objective.loss(part, of, step)
                self.updates.backward(loss, extra, len(of) / config.batch)
        values, stopping = self._update(self.optimizer)
        for rival in objective.rivals:
            if step >= rival.from_step:
                figures, also = self._rivals_turn(rival, factor, [len(of) / config.batch for _, of in parts], counter)
                values, stopping = {**values, **figures}, stopping or also
        self.updates.finish()
        if self.average:
            self.average.update(step)
        return {**values, **objective.after_step(step, world)}, stopping

    def _rivals_turn(
        self, rival: Rival, factor: float, shares: list[float], counter: AbstractContextManager[Any]
    ) -> tuple[dict[str, float], bool]:
        optimizer = self.rivals[rival.name]
        optimizer.set_rate(factor)
        optimizer.zero_grad()
        rival.module.train()
        for share in shares:
            with counter:
                with self.precision.autocast(self.device):
                    loss, extra = rival.loss(self.state.done)
                self.updates.backward(loss, extra, share)
        figures, stopping = self._update(optimizer, of=f" of {rival.name}")
        return {f"{rival.name}_{name}": value for name, value in figures.items()}, stopping

    def _update(self, optimizer: ModuleOptimizer, of: str = "") -> tuple[dict[str, float], bool]:
        try:
            return self.updates.step(optimizer)
        except NotFinite as found:
            raise NotFiniteError(self._not_finite(of, found)) from None

    def _not_finite(self, of: str, found: NotFinite) -> str:
        step, batch = self.state.done, self.config.batch
        clips = samples(self.seed, self.objective.size, step * batch, batch, SOLO)
        return (
            f"{self.title}: step {step}: loss{of} {found.loss}, gradient norm {found.gradient_norm}, on the clips "
            f"{', '.join(self.objective.sample_id(clip.index) for clip in clips)}; "
            f"last good checkpoint: {self._last_good() or 'none'}; "
            "look at those clips, lower optimizer.learning_rate, or set gradient_clip"
        )

    def _validate(self) -> None:
        if self.world.rank == 0:
            torch.manual_seed(key_seed(self.seed, "validate", self.state.done))
            self.objective.module.eval()
            with torch.no_grad(), self.average.in_module() if self.average else contextlib.nullcontext():
                figures = {f"validation_{k}": float(v) for k, v in self.objective.validate(self.state.done).items()}
            record(self.state.history, self.state.done, figures)
            self.tracker.metrics(figures, self.state.done)
        self.world.barrier()

    def _save(self, last: bool) -> None:
        self.saving.save(self.state.checkpoint, self.state.done, self.state.figures(), last)

    def _restore(self) -> None:
        found = restoring.found(self.work, self.restore, self.world, self.device)
        if found is None:
            return
        self.state.load(found)
        if self.writer:
            self.writer.saved = found.folder
            if 0 < found.step < self.config.steps:
                steps = self.config.steps
                print(f"{self.title}: goes on from step {found.step} of {steps}", file=sys.stderr, flush=True)

    def _last_good(self) -> Path | None:
        """Folder of the newest checkpoint, the one that is being written included."""
        if self.writer is None:
            return None
        with contextlib.suppress(CheckpointError):
            self.writer.wait()
        return self.writer.saved
