import json
import re

import numpy as np
import pytest
import torch

from components.evaluate.step import Config, run
from moso.errors import ConfigError, DataError, StopRequested
from moso.evaluation.joints import frame_changes
from moso.evaluation.metrics import psnr, unit_range
from moso.evaluation.rollout import RolloutConfig, roll_out
from moso.evaluation.seeds import sampling_seed
from moso.step import Context, StopSignal

K, T, EPISODE = 2, 4, 10
LENGTH = EPISODE - K


@pytest.fixture
def rollout(model, cache):
    return roll_out(model, cache, "test", RolloutConfig(frames=LENGTH, shown=2), seed=0)


def test_a_jump_at_every_joint_shows_in_the_ratio(rollout):
    changes = np.ones_like(rollout.changes["prediction"])
    changes[:, rollout.joints] = 3.0
    jumping = type(rollout)(**{**rollout.__dict__, "changes": {**rollout.changes, "prediction": changes}})
    assert jumping.summary()["prediction"]["joint_ratio"] == pytest.approx(3.0)


def test_values_are_those_of_the_models_rollout_against_the_episode(rollout, model, cache):
    assert [clip.episode_id for clip in rollout.clips] == ["seed_000004", "seed_000005", "seed_000006"]
    whole = np.stack([cache.frames(clip.episode_id) for clip in rollout.clips])
    seeds = [sampling_seed(0, clip) for clip in rollout.clips]
    video = model.rollout(whole[:, :K], LENGTH, seed=seeds)
    expected = psnr(unit_range(torch.from_numpy(video)), unit_range(torch.from_numpy(whole[:, K:])))
    np.testing.assert_allclose(rollout.values["psnr"]["prediction"], expected, rtol=1e-6)
    np.testing.assert_array_equal(rollout.shown[0]["prediction"][:K], whole[0, :K])
    np.testing.assert_array_equal(rollout.shown[0]["prediction"][K:], video[0])
    assert len(rollout.shown) == 2


def test_joints_left_as_they_are_are_measured_beside_the_faded_ones(rollout, model, cache):
    given = np.stack([cache.frames(clip.episode_id, 0, K) for clip in rollout.clips])
    seeds = [sampling_seed(0, clip) for clip in rollout.clips]
    expected = frame_changes(model.rollout(given, LENGTH, seed=seeds, fade=False))
    np.testing.assert_array_equal(rollout.changes["unfaded"], expected)
    assert not np.array_equal(rollout.changes["unfaded"], rollout.changes["prediction"])
    plain = roll_out(model, cache, "test", RolloutConfig(frames=LENGTH, fade=False), seed=0)
    np.testing.assert_array_equal(plain.changes["prediction"], expected)
    assert "unfaded" not in plain.summary()


def test_the_first_clip_of_a_rollout_is_its_ordinary_prediction(rollout, model, cache):
    given = np.stack([cache.frames(clip.episode_id, 0, K) for clip in rollout.clips])
    seeds = [sampling_seed(0, clip) for clip in rollout.clips]
    np.testing.assert_array_equal(
        np.stack([shown["prediction"][K:T] for shown in rollout.shown]), model.predict(given, seed=seeds)[:2]
    )


def test_episodes_that_are_too_short_are_left_out_and_none_at_all_is_refused(model, cache):
    with pytest.raises(
        DataError, match=r"no test episode has the 23 frames of a rollout \(the longest of all has 10\)"
    ):
        roll_out(model, cache, "test", RolloutConfig(frames=21), seed=0)


def test_a_rollout_without_a_joint_is_refused(model, cache):
    with pytest.raises(ConfigError, match=re.escape("rollout.frames = 2")):
        roll_out(model, cache, "test", RolloutConfig(frames=T - K), seed=0)


def test_stop_signal_ends_a_rollout_between_batches(model, cache):
    stop = StopSignal()
    stop.set()
    with pytest.raises(StopRequested):
        roll_out(model, cache, "test", RolloutConfig(frames=LENGTH), seed=0, stop=stop)


def test_report_shows_the_rollout_and_its_joints_and_no_protocol_changes(inputs, tmp_path):
    common = {"data_set": "squares", "min_clips": 6, "min_episodes": 3, "resamples": 200, "shown_clips": 1}
    found = {}
    for name, rollout in (("without", None), ("with", RolloutConfig(frames=LENGTH, episodes=2, shown=1))):
        folder = tmp_path / name
        run(Config(**common, rollout=rollout), inputs, {"report": folder}, Context(work=tmp_path, device="cpu"))
        found[name] = json.loads((folder / "metrics.json").read_text()), (folder / "index.html").read_text()
    (without, plain), (with_it, page) = found["without"], found["with"]
    figures = with_it.pop("rollout")
    assert with_it == without
    assert figures["frames"] == LENGTH
    assert figures["episodes"] == 2
    ours = figures["prediction"]
    assert ours["joint_ratio"] == pytest.approx(ours["change_at_joints"] / ours["change_elsewhere"])
    assert 'id="rollout"' not in plain
    assert 'id="rollout"' in page
    cut = figures["unfaded"]["joint_ratio"]
    told = f"a ratio of {ours['joint_ratio']:.2f}, {cut:.2f} where joints are left as they are; the truth&#x27;s is "
    assert f"{told}{figures['truth']['joint_ratio']:.2f}" in page
    assert f"--frames:{EPISODE};--rows:3" in page
    assert page.count('class="film"') == plain.count('class="film"') + 1
