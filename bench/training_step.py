"""A step as moso.training.loop makes it, without the loop's files, order and curves."""

from __future__ import annotations

from collections.abc import Callable

import torch

from moso.planning.trial import Trial
from moso.training.config import TrainingConfig
from moso.training.objective import Objective
from moso.training.settings import torch_settings
from moso.training.switches import compiling, switch_


def training_step(objective: Objective, config: TrainingConfig, device: torch.device, step: int) -> Callable[[], None]:
    """A call is step `step` of the training, on a batch of its own: drawing that is the prefetch's and counted too."""
    trial = Trial(objective, config, device)
    if config.compile:
        switch_(objective.module, config)  # Trial compiles nothing

    def work() -> None:
        with torch_settings(device, config.deterministic), compiling(config.compile):
            trial.step(step)

    return work
