"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from moso.training.config import TrainingConfig


def rate_factor(step: int, config: TrainingConfig) -> float:
    """Share of the peak learning rate at step `step` (from 0): in (0, 1].

    Linear warm-up over the first round(warmup * steps) steps, whose last one has the peak, then constant, or a cosine
    that would reach 0 one step after the last.
    """
    warmup = round(config.warmup * config.steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (config.steps - warmup)))
