"""Steps of a training without the loop around them: no order, no checkpoints, no tracker."""

from __future__ import annotations

import contextlib
import dataclasses

import torch

from moso.training import precision
from moso.training.average import WeightAverage
from moso.training.config import TrainingConfig
from moso.training.objective import Objective
from moso.training.optimizer import ModuleOptimizer
from moso.training.sampler import Sample
from moso.training.switches import switch_
from moso.training.update import Updates
from moso.training.world import Solo


class Trial:
    """What moso.training.loop holds, and its step, by the switches of its config: tests compare the two.

    Nothing is compiled: what that takes is known only once it is done.

    Args:
        objective: its module on `device`.
        config: of the training.

    Raises:
        ConfigError: a precision that the device does not have.
    """

    def __init__(self, objective: Objective, config: TrainingConfig, device: torch.device) -> None:
        self.objective, self.config, self.device = objective, config, device
        self.world = Solo()
        for module in (objective.module, *(rival.module for rival in objective.rivals)):
            switch_(module, dataclasses.replace(config, compile=False))
            if config.channels_last:
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = precision.choose(config.precision, device)
        scaler = self.precision.scaler(device)
        self.updates = Updates(config.gradient_clip, self.world, device, scaler, lambda: False)
        self.optimizer = ModuleOptimizer(objective.module, config.optimizer)
        self.rivals = [(rival, ModuleOptimizer(rival.module, rival.optimizer)) for rival in objective.rivals]
        self.average = WeightAverage(objective.module, config.ema_decay) if config.ema_decay else None

    def settle(self) -> None:
        """Make what the optimizers keep, as the first step does, by a step of no gradient; weights may decay."""
        for optimizer in (self.optimizer, *(optimizer for _, optimizer in self.rivals)):
            for parameter in optimizer.parameters.values():
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
            optimizer.zero_grad()

    def dealt(self, step: int) -> list[Sample]:
        """The samples of a step."""
        first = step * self.config.batch
        return [Sample(first + i, 0, i) for i in range(self.config.batch)]

    def step(self, step: int) -> None:
        """One step, as it is at step `step` of the training; `objective.prepare` gives its batch."""
        objective, dealt = self.objective, self.dealt(step)
        batch = objective.prepare(dealt)
        objective.module.train()
        objective.before_step(step, self.world)
        self.optimizer.zero_grad()
        count = self.config.accumulation
        parts = [(batch, dealt)] if count == 1 else objective.parts(batch, dealt, count)
        shares = [len(of) / len(dealt) for _, of in parts]
        for share, (part, of) in zip(shares, parts, strict=True):
            with self.precision.autocast(self.device):
                loss, extra = objective.loss(part, of, step)
            self.updates.backward(loss, extra, share)
        self.updates.step(self.optimizer)
        del loss, extra
        for rival, optimizer in self.rivals:
            if step >= rival.from_step:
                optimizer.zero_grad()
                rival.module.train()
                for share in shares:
                    with self.precision.autocast(self.device):
                        loss, extra = rival.loss(step)
                    self.updates.backward(loss, extra, share)
                self.updates.step(optimizer)
        self.updates.finish()
        if self.average:
            self.average.update(step)
        objective.after_step(step, self.world)

    def validate(self) -> None:
        """The validation that follows some steps."""
        self.objective.module.eval()
        with torch.no_grad(), self.average.in_module() if self.average else contextlib.nullcontext():
            self.objective.validate(self.config.steps)
