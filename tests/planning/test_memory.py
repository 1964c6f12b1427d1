"""The memory of a training, against the same training for real."""

import dataclasses
import sys

import pytest
import torch

from bench.planning import Case, measured
from moso.planning.memory import _counted, fullest_share, masked_share, regimes, stage_memory
from moso.planning.meter import MemoryMeter
from moso.planning.stages import STAGES, Experiment, make_objective
from moso.planning.trial import Trial

CPU = torch.device("cpu")
TINY = Experiment.of_preset("sim_push/tiny")


SWITCHES = {
    "none": {},
    "parts": {"accumulation": 2},
    "recompute": {"recompute": True},
    "both": {"accumulation": 2, "recompute": True},
    "plain attention": {"fused_attention": False},
}


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_fake_step_takes_what_a_real_one_takes(stage, switches) -> None:
    experiment = TINY.with_training(stage, **SWITCHES[switches])
    planned = stage_memory(experiment, stage, CPU)
    training = experiment.training[stage]
    with MemoryMeter() as meter:
        objective = make_objective(experiment, stage, CPU)
        trial = Trial(objective, training, CPU)
        steps = list(regimes(objective, training.steps))
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


def test_parts_and_recomputation_save_activations_and_the_latter_costs_operations() -> None:
    plain = stage_memory(TINY, "vqvae", CPU)
    halves, again = (
        stage_memory(TINY.with_training("vqvae", **change), "vqvae", CPU)
        for change in ({"accumulation": 2}, {"recompute": True})
    )
    assert halves.activations < 0.7 * plain.activations
    assert again.activations < 0.7 * plain.activations
    assert halves.flops == plain.flops
    assert 1.1 * plain.flops < again.flops < 4 / 3 * plain.flops


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_many_parts_take_what_two_and_three_let_expect(stage) -> None:
    five = TINY.with_training(stage, batch=5, accumulation=5, validate_every=0)
    counted = _counted(five, stage, CPU, masked_share(five, stage))
    planned = stage_memory(five, stage, CPU)
    assert planned.step == pytest.approx(counted.step, rel=1e-3)
    assert planned.flops == pytest.approx(counted.flops, rel=1e-3)
    assert (planned.kept, planned.saved, planned.batches) == (counted.kept, counted.saved, counted.batches)


def test_fewer_frames_that_are_decoded_take_less() -> None:
    every = dataclasses.replace(TINY, objective=dataclasses.replace(TINY.objective, decode_pools=0))
    two, three = (stage_memory(experiment, "vqvae", CPU) for experiment in (TINY, every))
    assert two.activations < three.activations
    assert two.flops < three.flops


def test_activations_are_linear_in_the_batch() -> None:
    two, four, eight = (stage_memory(TINY.with_batch(n), "vqvae", CPU).activations for n in (4, 8, 16))
    assert eight - four == pytest.approx(2 * (four - two), rel=0.05)


def test_a_training_works_after_it_was_planned() -> None:
    """Nothing fake may be left behind in a cache."""
    stage_memory(TINY, "vqvae", CPU)
    Trial(make_objective(TINY, "vqvae", CPU), TINY.training["vqvae"], CPU).step(0)


def test_each_kind_of_step_is_looked_at_and_their_numbers_are_the_trainings() -> None:
    objective = make_objective(TINY, "vqvae", CPU)  # Algorithm 1 until step 4
    assert regimes(objective, 16) == {0: 4, 4: 12}
    assert regimes(objective, 4) == {0: 4}
    assert regimes(make_objective(TINY, "transformer", CPU), 9) == {0: 9}


def test_writing_a_checkpoint_takes_copies_of_what_is_not_contiguous_alone() -> None:
    waiting = TINY.with_training("vqvae", background_checkpoints=False)
    assert stage_memory(waiting, "vqvae", CPU).writing == 0
    laid = waiting.with_training("vqvae", channels_last=True)
    model = make_objective(laid, "vqvae", CPU).module.to(memory_format=torch.channels_last)
    copied = sum(t.nbytes for t in model.state_dict().values() if not t.is_contiguous())
    # the moments lie like the weights, or nearly so: the fuller group counts
    assert 0 < copied <= stage_memory(laid, "vqvae", CPU).writing <= 1.01 * copied


def test_writing_in_the_background_keeps_a_copy_of_what_is_saved_and_makes_no_other() -> None:
    laid = TINY.with_training("vqvae", channels_last=True)
    waiting = stage_memory(laid.with_training("vqvae", background_checkpoints=False), "vqvae", CPU)
    beside = stage_memory(laid, "vqvae", CPU)
    assert (waiting.snapshot, beside.snapshot, beside.writing) == (0, beside.saved, 0)
    weights = sum(t.nbytes for t in make_objective(laid, "vqvae", CPU).module.state_dict().values())
    assert beside.saved == waiting.saved == weights + beside.optimizer
    assert beside.on_device(CPU) - waiting.on_device(CPU) == beside.saved  # a step is fuller than a write
    assert beside.on_device(torch.device("cuda")) == waiting.on_device(torch.device("cuda"))


def test_the_fullest_batch_is_fuller_where_there_are_more_of_them_and_less_so_where_they_are_large() -> None:
    assert fullest_share(1, 10_000) > 0.999
    assert 2 / torch.pi < fullest_share(32, 100) < fullest_share(32, 5000) < 0.95
    # 2 of 12 frames are given, one whole pool of them
    default = Experiment.of_preset("sim_push/default")
    assert masked_share(default, "transformer") == pytest.approx(fullest_share(4, 1700) * 10 / 12)
    # the fullest of more and smaller parts
    parts = default.with_training(accumulation=2)
    assert masked_share(parts, "transformer") == pytest.approx(fullest_share(2, 3400) * 10 / 12)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("switches", ["none", "both"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_plan_is_within_a_tenth_of_a_real_training_s_peak(stage, switches) -> None:
    case = Case("sim_push/default", stage, SWITCHES[switches], steps=4)
    planned = stage_memory(case.experiment(), stage, CPU).on_device(CPU)
    assert planned == pytest.approx(measured(case)["bytes"], rel=0.1)
