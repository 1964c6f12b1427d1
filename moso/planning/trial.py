"""Steps of a training without the loop around them: no order, no checkpoints, no tracker."""

from __future__ import annotations

import contextlib

import torch

from moso.training import precision
from moso.training.average import WeightAverage
from moso.training.config import TrainingConfig
from moso.training.objective import Objective
from moso.training.optimizer import ModuleOptimizer
from moso.training.sampler import Sample
from moso.training.update import Updates
from moso.training.world import Solo


class Trial:
    """What moso.training.loop holds, and its step: tests compare the two.

    Args:
        objective: its module on `device`.
        config: of the training.
    """

    def __init__(self, objective: Objective, config: TrainingConfig, device: torch.device) -> None:
        self.objective, self.config, self.device = objective, config, device
        self.world = Solo()
        if config.channels_last:
            for module in (objective.module, *(rival.module for rival in objective.rivals)):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = precision.choose(config.precision, device)
        scaler = self.precision.scaler(device)
        self.updates = Updates(config.gradient_clip, self.world, device, scaler, lambda: False)
        self.optimizer = ModuleOptimizer(objective.module, config.optimizer)
        self.rivals = [(rival, ModuleOptimizer(rival.module, rival.optimizer)) for rival in objective.rivals]
        self.average = WeightAverage(objective.module, config.ema_decay) if config.ema_decay else None

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
        with self.precision.autocast(self.device):
            loss, extra = objective.loss(batch, dealt, step)
        self.updates.apply(self.optimizer, loss, extra, 1.0)
        del loss, extra
        for rival, optimizer in self.rivals:
            if step >= rival.from_step:
                optimizer.zero_grad()
                rival.module.train()
                with self.precision.autocast(self.device):
                    loss, extra = rival.loss(step)
                self.updates.apply(optimizer, loss, extra, 1.0)
        self.updates.finish()
        if self.average:
            self.average.update(step)
        objective.after_step(step, self.world)

    def validate(self) -> None:
        """The validation that follows some steps."""
        self.objective.module.eval()
        with torch.no_grad(), self.average.in_module() if self.average else contextlib.nullcontext():
            self.objective.validate(self.config.steps)
