"""A trial's steps are the loop's: the same weights, bit for bit, on the same batches."""

import dataclasses

import pytest
import torch

from moso.planning.stages import Experiment, make_objective
from moso.planning.trial import Trial
from moso.step import Context
from moso.training.loop import train
from moso.training.pinning import map_tensors
from moso.training.sampler import Sample, samples
from moso.training.work import WorkFolder
from moso.training.world import Solo
from moso.vqvae.discriminators import AdversarialConfig

CPU, SEED = torch.device("cpu"), 0
TINY = Experiment.of_preset("sim_push/tiny")
TINY = dataclasses.replace(TINY, transformer=dataclasses.replace(TINY.transformer, dropout=0.0))  # the loop seeds it
RIVALS = AdversarialConfig(video=0.1, image=0.1, from_step=1, channels=8, layers=1)
RIVALLED = dataclasses.replace(TINY, vqvae_loss=dataclasses.replace(TINY.vqvae_loss, adversarial=RIVALS))
CASES = {
    "vqvae": (TINY, "vqvae", {}),
    "vqvae with rivals, in parts": (RIVALLED, "vqvae", {"accumulation": 2}),
    "vqvae with an average, channels last, clipped": (
        TINY,
        "vqvae",
        {"ema_decay": 0.9, "channels_last": True, "gradient_clip": 0.5},
    ),
    "transformer": (TINY, "transformer", {}),
    "transformer in parts, recomputed": (TINY, "transformer", {"accumulation": 2, "recompute": True}),
}


def _objective(experiment, stage):
    """An objective whose batches depend on their samples alone (those of random data differ at each call)."""
    torch.manual_seed(0)
    objective = make_objective(experiment, stage, CPU)
    every = objective.prepare([Sample(i, 0, i) for i in range(objective.size)])
    objective.prepare = lambda dealt: map_tensors(every, lambda tensor: tensor[[one.index for one in dealt]])
    return objective


@pytest.mark.parametrize("case", CASES)
def test_three_steps_of_a_trial_give_the_weights_of_the_loop(case, tmp_path) -> None:
    experiment, stage, changes = CASES[case]
    # the trial knows no schedule: the rate is the same at every step
    fixed = {"steps": 3, "schedule": "constant", "warmup": 0.0, "validate_every": 0}
    training = dataclasses.replace(experiment.training[stage], **fixed, **changes)
    experiment = dataclasses.replace(experiment, training={**experiment.training, stage: training})
    looped, tried = _objective(experiment, stage), _objective(experiment, stage)
    start = {name: value.clone() for name, value in tried.module.state_dict().items()}
    train(
        looped,
        training,
        seed=SEED,
        work=WorkFolder(tmp_path, "work"),
        context=Context(work=tmp_path),
        title=stage,
        identity={},
    )
    trial = Trial(tried, training, CPU)
    trial.dealt = lambda step: samples(SEED, tried.size, step * training.batch, training.batch, Solo())
    for step in range(training.steps):
        trial.step(step)
    if trial.average:
        trial.average.copy_to_module()
    found = tried.module.state_dict()
    for name, value in looped.module.state_dict().items():
        assert torch.equal(value, found[name]), name
    assert any(not torch.equal(value, start[name]) for name, value in found.items())
    for mine, theirs in zip(looped.rivals, tried.rivals, strict=True):
        for name, value in mine.module.state_dict().items():
            assert torch.equal(value, theirs.module.state_dict()[name]), f"{mine.name} {name}"
