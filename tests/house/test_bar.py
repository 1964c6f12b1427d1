"""The bar that CI holds the embedded run to."""

import copy
import json
import math

import pytest

from moso.errors import DataError
from pipelines.bar import failures, main

GOOD = {
    "protocol": {"split": "test", "clips": 264, "episodes": 132},
    "reconstruction": {"psnr": 26.5},
    "motion_frozen": {"psnr": 18.2},
    "rollout": {"prediction": {"joint_ratio": 0.99}, "truth": {"joint_ratio": 1.02}},
    "margins": {
        baseline: {metric: {"mean": 0.02, "low": 0.01, "high": 0.03} for metric in ("psnr", "ssim")}
        for baseline in ("over_repeat_last", "over_hedge")
    },
}


def test_clear_margins_on_enough_clips_meet_the_bar():
    assert failures(GOOD) == []


@pytest.mark.parametrize("baseline", ["over_repeat_last", "over_hedge"])
@pytest.mark.parametrize("metric", ["psnr", "ssim"])
@pytest.mark.parametrize("low", [0.0, -0.1, math.nan])
def test_an_interval_that_does_not_begin_above_zero_misses_it(baseline, metric, low):
    metrics = copy.deepcopy(GOOD)
    metrics["margins"][baseline][metric]["low"] = low
    (reason,) = failures(metrics)
    assert metric in reason
    assert baseline in reason


@pytest.mark.parametrize(("field", "value"), [("clips", 255), ("episodes", 127), ("split", "validation")])
def test_fewer_clips_or_another_split_miss_it(field, value):
    metrics = copy.deepcopy(GOOD)
    metrics["protocol"][field] = value
    (reason,) = failures(metrics)
    assert str(value) in reason


@pytest.mark.parametrize("frozen", [26.5, 24.0, math.nan])
def test_a_reconstruction_that_needs_no_motion_misses_it(frozen):
    (reason,) = failures({**GOOD, "motion_frozen": {"psnr": frozen}})
    assert "motion" in reason


@pytest.mark.parametrize("joint", [1.13, 2.0, math.inf, math.nan])
def test_a_rollout_that_jumps_where_clips_meet_misses_it(joint):
    (reason,) = failures({**GOOD, "rollout": {**GOOD["rollout"], "prediction": {"joint_ratio": joint}}})
    assert "jump" in reason


def test_missing_figures_are_an_error_and_no_pass():
    with pytest.raises(DataError, match="over_hedge"):
        failures({**GOOD, "margins": {"over_repeat_last": GOOD["margins"]["over_repeat_last"]}})


def test_the_command_says_what_is_missing_and_fails(tmp_path, capsys):
    assert main([str(tmp_path / "metrics.json")]) == 1
    assert "make repro" in capsys.readouterr().err
    (tmp_path / "metrics.json").write_text(json.dumps(GOOD))
    assert main([str(tmp_path / "metrics.json")]) == 0
