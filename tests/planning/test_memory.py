"""The memory of a training, against the same training for real."""

import subprocess
import sys

import pytest
import torch

from moso.planning.memory import fullest_share, masked_share, regimes, stage_memory, writing
from moso.planning.meter import MemoryMeter
from moso.planning.stages import STAGES, Experiment, make_objective
from moso.planning.trial import Trial

CPU = torch.device("cpu")
TINY = Experiment.of_preset("sim_push/tiny")


@pytest.mark.parametrize("stage", STAGES)
def test_a_fake_step_takes_what_a_real_one_takes(stage) -> None:
    planned = stage_memory(TINY, stage, CPU)
    training = TINY.training[stage]
    with MemoryMeter() as meter:
        objective = make_objective(TINY, stage, CPU)
        trial = Trial(objective, training, CPU)
        steps = regimes(objective, training.steps)
        trial.step(steps[0])
        meter.restart()
        for step in steps * 3:  # masks are random
            trial.step(step)
    assert planned.step == pytest.approx(meter.peak, rel=0.1)
    assert planned.kept == pytest.approx(meter.live, rel=0.1)


def test_what_is_kept_is_weights_gradients_and_moments() -> None:
    memory = stage_memory(TINY, "transformer", CPU)
    model = make_objective(TINY, "transformer", CPU).module
    trained = 4 * sum(p.numel() for p in model.parameters())
    assert memory.gradients == trained
    assert memory.weights >= trained
    assert memory.average == 0
    assert memory.saved == 4 * sum(t.numel() for t in model.state_dict().values()) + memory.optimizer


def test_activations_are_linear_in_the_batch() -> None:
    two, four, eight = (stage_memory(TINY.with_batch(n), "vqvae", CPU).activations for n in (4, 8, 16))
    assert eight - four == pytest.approx(2 * (four - two), rel=0.05)


def test_a_training_works_after_it_was_planned() -> None:
    """Nothing fake may be left behind in a cache."""
    stage_memory(TINY, "vqvae", CPU)
    Trial(make_objective(TINY, "vqvae", CPU), TINY.training["vqvae"], CPU).step(0)


def test_both_kinds_of_step_of_algorithm_1_are_looked_at() -> None:
    objective = make_objective(TINY, "vqvae", CPU)  # until step 4
    assert regimes(objective, 16) == [0, 4]
    assert regimes(objective, 4) == [0]


def test_writing_holds_a_group_three_times_and_the_bytes_before_it() -> None:
    assert writing([10, 20]) == 10 + 3 * 20
    assert writing([50, 20]) == 3 * 50
    assert writing([]) == 0


def test_the_fullest_batch_is_fuller_where_there_are_more_of_them_and_less_so_where_they_are_large() -> None:
    assert fullest_share(1, 10_000) > 0.999
    assert 2 / torch.pi < fullest_share(32, 100) < fullest_share(32, 5000) < 0.95
    # 2 of 12 frames are given, one whole pool of them
    default = Experiment.of_preset("sim_push/default")
    assert masked_share(default, "transformer") == pytest.approx(fullest_share(4, 1700) * 10 / 12)


MEASURE = """
import sys, tempfile, torch, dataclasses
from pathlib import Path
from moso.planning.stages import Experiment, make_objective
from moso.step import Context
from moso.training.loop import train
from moso.training.work import WorkFolder
experiment, stage = Experiment.of_preset("sim_push/default"), sys.argv[1]
training = dataclasses.replace(experiment.training[stage], steps=3, validate_every=0)
experiment = dataclasses.replace(experiment, training={**experiment.training, stage: training})
with tempfile.TemporaryDirectory() as work:
    train(
        make_objective(experiment, stage, torch.device("cpu")), training, seed=0, title=stage, identity={},
        work=WorkFolder(Path(work), "measured"), context=Context(work=Path(work)),
    )
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM"):
        print(int(line.split()[1]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("stage", STAGES)
def test_the_plan_is_within_a_tenth_of_a_real_training_s_peak(stage) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, stage], capture_output=True, text=True, check=True)
    planned = stage_memory(Experiment.of_preset("sim_push/default"), stage, CPU).on_device(CPU)
    assert planned == pytest.approx(int(done.stdout.split()[-1]), rel=0.1)
