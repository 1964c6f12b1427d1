"""`moso plan`."""

import pytest


def test_a_plan_says_what_both_trainings_take(moso) -> None:
    done = moso("plan", "--preset", "sim_push/tiny", "--clips", "10", "--memory", "64GiB", "--measure", "0")
    assert done.code == 0
    assert "224 a clip, 2,240 in 10 clips" in done.out
    assert "train_vqvae" in done.out
    assert "train_transformer" in done.out
    assert "(estimated)" in done.out
    assert "32 clips in 16 steps, 192 images" in done.out  # batches of 2, 6 frames a clip
    assert "64 clips in 16 steps, 14,336 tokens" in done.out


def test_what_is_quickly_measured_is_measured_and_settings_are_followed(moso) -> None:
    changed = ("--set", "train_vqvae.training.accumulation=2", "--set", "train_vqvae.training.recompute=true")
    done = moso("plan", "--preset", "sim_push/tiny", "--stage", "vqvae", *changed)
    assert "measured, 2 of each kind on random data" in done.out
    assert "batch 2 in 2 parts; precision float32; activations recomputed" in done.out


def test_what_does_not_fit_is_refused_below_the_plan(moso) -> None:
    done = moso("plan", "--preset", "sim_push/tiny", "--stage", "vqvae", "--batch", "3", "--memory", "100MiB")
    assert "train_vqvae.training.batch = 3: takes" in done.refusal
    assert "larger machine" in done.refusal  # even a batch of 1 takes more
    assert "train_vqvae" in done.out  # the plan stands above the refusal


def test_times_are_measured_where_asked(moso) -> None:
    done = moso("plan", "--preset", "sim_push/tiny", "--stage", "transformer", "--measure", "1")
    assert done.code == 0
    assert "measured, 1 of each kind on random data" in done.out
    assert "train_vqvae" not in done.out


def test_an_unknown_preset_is_told_the_nearest(moso) -> None:
    assert "did you mean 'kth/128'" in moso("plan", "--preset", "kth/129").refusal


@pytest.mark.parametrize("size", ["16", "much", "xGiB"])
def test_a_size_without_a_unit_is_a_usage_error(moso, size) -> None:
    done = moso("plan", "--preset", "sim_push/tiny", "--memory", size)
    assert done.code == 2
    assert "is no size" in done.err
