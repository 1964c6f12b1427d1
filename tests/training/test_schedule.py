import math

import pytest

from moso.training.config import TrainingConfig
from moso.training.schedule import rate_factor


def factors(**settings):
    config = TrainingConfig(batch=1, **settings)
    return [rate_factor(step, config) for step in range(config.steps)]


def test_constant_without_warmup_is_one():
    assert factors(steps=3) == [1, 1, 1]


def test_warmup_rises_linearly_to_the_peak():
    assert factors(steps=8, warmup=0.5) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_cosine_falls_from_the_peak_towards_zero():
    got = factors(steps=6, warmup=1 / 3, schedule="cosine")
    root = math.sqrt(0.5)
    assert got == pytest.approx([0.5, 1, 1, (1 + root) / 2, 0.5, (1 - root) / 2])
