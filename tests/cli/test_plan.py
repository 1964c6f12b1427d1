"""`moso plan`."""

import pytest


def test_a_plan_says_what_both_trainings_take(moso) -> None:
    done = moso("plan", "--preset", "sim_push/tiny", "--clips", "10", "--memory", "64GiB")
    assert done.code == 0
    assert "224 a clip, 2,240 in 10 clips" in done.out
    assert "train_vqvae" in done.out
    assert "train_transformer" in done.out
    assert "(estimated)" in done.out


def test_what_does_not_fit_is_refused_below_the_plan(moso) -> None:
    done = moso("plan", "--preset", "sim_push/tiny", "--stage", "vqvae", "--batch", "64", "--memory", "402MiB")
    assert "train_vqvae.training.batch = 64: takes" in done.refusal
    assert "larger machine" in done.refusal  # even a batch of 1 takes more
    assert "train_vqvae" in done.out  # the plan stands above the refusal


def test_times_are_measured_where_asked(moso) -> None:
    done = moso("plan", "--preset", "sim_push/tiny", "--stage", "transformer", "--measure", "1")
    assert done.code == 0
    assert "measured on random data" in done.out
    assert "train_vqvae" not in done.out


def test_an_unknown_preset_is_told_the_nearest(moso) -> None:
    assert "did you mean 'kth/128'" in moso("plan", "--preset", "kth/129").refusal


@pytest.mark.parametrize("size", ["16", "much", "xGiB"])
def test_a_size_without_a_unit_is_a_usage_error(moso, size) -> None:
    done = moso("plan", "--preset", "sim_push/tiny", "--memory", size)
    assert done.code == 2
    assert "is no size" in done.err
