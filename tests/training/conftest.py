"""Shared by the tests of the loop: a toy objective and one call of train."""

import importlib.util
import sys
from pathlib import Path

import pytest

from moso.step import Context
from moso.training.config import OptimizerConfig, TrainingConfig
from moso.training.loop import train
from moso.training.work import WorkFolder, run_identity, work_key
from moso.training.world import Solo

HERE = Path(__file__).parent


def _load(name):
    # By path: the tests are no package (importmode=importlib).
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toy():
    """The module with the toy objective."""
    return _load("toy")


@pytest.fixture
def config():
    """Settings of a toy training; keywords change them."""

    def make(**changes):
        settings = {
            "steps": 4,
            "batch": 4,
            "optimizer": OptimizerConfig("muon", learning_rate=0.02),
            "schedule": "cosine",
            "warmup": 0.25,
            "gradient_clip": 1.0,
            "ema_decay": 0.9,
            "log_every": 3,
            "validate_every": 2,
            "checkpoint_every": 1,
            "channels_last": True,
        }
        return TrainingConfig(**{**settings, **changes})

    return make


@pytest.fixture
def run(tmp_path):
    """Train an objective in a work folder below tmp_path; returns the history."""

    def call(objective, config, *, work="work", seed=0, context=None, world=None):
        identity = run_identity("toy", config, {"data": "d"}, code=HERE / "toy.py")
        return train(
            objective,
            config,
            seed=seed,
            work=WorkFolder(tmp_path / work, work_key(identity)),
            context=context or Context(tmp_path),
            title="toy",
            identity=identity,
            world=world or Solo(),
        )

    return call
