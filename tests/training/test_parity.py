"""Every switch of a training, on the real networks of both stages: the curve of the training without it."""

import dataclasses

import pytest
import torch

from moso.planning.stages import STAGES, Experiment, make_objective
from moso.step import Context
from moso.training.config import OptimizerConfig, TrainingConfig
from moso.training.loop import train
from moso.training.pinning import map_tensors
from moso.training.precision import cpu_has_bf16
from moso.training.sampler import Sample
from moso.training.work import WorkFolder

TINY = Experiment.of_preset("sim_push/tiny")
TINY = dataclasses.replace(TINY, transformer=dataclasses.replace(TINY.transformer, dropout=0.0))  # parts draw otherwise
PLAIN = TrainingConfig(
    steps=3, batch=4, optimizer=OptimizerConfig(), precision="float32", prefetch=0, log_every=1, pin_memory=False
)
BF16 = pytest.param(
    {"precision": "bf16"}, 0.03, marks=pytest.mark.skipif(not cpu_has_bf16(), reason="no bfloat16 instructions")
)
SWITCHES = [
    ({"channels_last": True}, 1e-4),
    ({"fused_attention": False}, 1e-4),
    ({"optimizer": OptimizerConfig(fused=False)}, 1e-4),
    ({"accumulation": 3}, 1e-4),
    ({"recompute": True}, 0.0),
    ({"accumulation": 2, "recompute": True, "channels_last": True}, 1e-4),
    ({"prefetch": 2}, 0.0),
    BF16,
]


def _curve(stage, folder, **changes):
    settings = dataclasses.replace(PLAIN, **changes)
    experiment = dataclasses.replace(TINY, training={**TINY.training, stage: settings})
    torch.manual_seed(0)
    objective = make_objective(experiment, stage, torch.device("cpu"))
    every = objective.prepare([Sample(i, 0, i) for i in range(objective.size)])  # random at each call
    objective.prepare = lambda samples: map_tensors(every, lambda tensor: tensor[[s.index for s in samples]])
    work, context = WorkFolder(folder, "work"), Context(work=folder)
    return train(objective, settings, seed=0, work=work, context=context, title=stage, identity={})


@pytest.fixture(scope="module", params=STAGES)
def plain(request, tmp_path_factory):
    """A stage, and its curve without any switch."""
    return request.param, _curve(request.param, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(("switches", "tolerance"), SWITCHES, ids=lambda value: str(value)[:60])
def test_a_switch_leaves_the_curve_as_it_is(plain, switches, tolerance, tmp_path):
    stage, expected = plain
    found = _curve(stage, tmp_path, **switches)
    assert len(found) == len(expected) == PLAIN.steps
    for row, true in zip(found, expected, strict=True):
        for name in ("loss", "gradient_norm"):
            assert row[name] == pytest.approx(true[name], rel=tolerance * (10 if name == "gradient_norm" else 1), abs=0)
