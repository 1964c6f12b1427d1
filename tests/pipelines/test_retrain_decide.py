"""What a retraining decides on before the gate is asked, by hand."""

import json
from pathlib import Path

import pytest

from components.evaluate.step import Config as Evaluate
from moso.datasets.manifest import Manifest, Row
from pipelines.retrain_decide import as_table, beyond_tolerance, enough_to_judge, evaluation_of_new
from pipelines.retrain_drift import stage_1_fails
from pipelines.retrain_settings import RetrainSettings
from pipelines.retrain_state import Places, trained_on


def _manifest(folder: Path, **splits: str) -> Path:
    rows = [
        Row(
            episode_id=name, split=split, recording=name, source=f"{name}.npz", sha256=name, signals_sha256="",
            frames=9, height=8, width=8, fps=10.0, actions=0,
        )
        for name, split in splits.items()
    ]  # fmt: skip
    folder.mkdir(parents=True)
    Manifest.empty().append(rows).write(folder / "manifest.parquet")
    return folder


COMPARED = {"new": {"candidate": 20.0, "champion": 15.0}, "frozen": {"candidate": 17.0, "champion": 17.6}}


def test_a_loss_beyond_the_tolerance_on_the_set_that_does_not_judge_is_said_with_both_numbers():
    assert beyond_tolerance("new", COMPARED, 0.5, higher_is_better=True) == [
        "frozen test set is worse by 0.6, 0.5 is tolerated"
    ]
    assert beyond_tolerance("new", COMPARED, 0.7, higher_is_better=True) == []


def test_the_judging_set_is_the_gate_s_and_not_held_against_the_tolerance():
    assert beyond_tolerance("frozen", COMPARED, 0.0, higher_is_better=True) == []


def test_where_lower_is_better_a_rise_is_the_loss():
    assert beyond_tolerance("frozen", COMPARED, 0.5, higher_is_better=False) == [
        "new test set is worse by 5, 0.5 is tolerated"
    ]


def test_no_number_is_beyond_every_tolerance():
    compared = {"frozen": {"candidate": float("nan"), "champion": 17.6}}
    assert len(beyond_tolerance("new", compared, 1e9, higher_is_better=True)) == 1


@pytest.mark.parametrize(
    ("new", "enough"), [(["a", "b", "c"], True), (["a", "b"], False), (["b", "c"], False), (["a", "b", "d"], False)]
)
def test_new_episodes_judge_where_two_are_for_testing_and_one_for_training(tmp_path, capsys, new, enough):
    """b and c are test episodes, a is for training, d for validation."""
    episodes = _manifest(tmp_path / "episodes", a="train", b="test", c="test", d="validation", e="test")
    assert enough_to_judge(episodes, new, "test", RetrainSettings(least_test_episodes=2)) == enough
    assert ("the frozen test set alone decides" in capsys.readouterr().out) == (not enough)


def test_new_data_is_measured_over_all_its_clips_under_no_published_name():
    config = Evaluate(data_set="kth", protocol={"name": "kth/64", "videos": 256})
    of_new = evaluation_of_new(config, RetrainSettings(least_test_episodes=3))
    assert (of_new.videos, of_new.min_clips, of_new.min_episodes) == (None, 1, 3)
    assert "name" not in of_new.protocol
    same = dict(of_new.protocol)
    assert same == {key: value for key, value in config.protocol.items() if key not in ("name", "videos")}


@pytest.mark.parametrize(("bound", "fails"), [(4.9, True), (5.0, False)])
def test_stage_1_fails_beyond_the_bound(bound, fails):
    drift = {"reconstruction_psnr": {"training": 20.0, "new": 15.0}}
    assert stage_1_fails(drift, RetrainSettings(vqvae_bound_db=bound)) == fails


def test_a_champion_knows_the_episodes_of_the_retraining_that_made_it_and_another_those_of_the_first_run(tmp_path):
    places = Places(tmp_path / "state", _manifest(tmp_path / "first", a="train"), tmp_path)
    run = _manifest(tmp_path / "state" / "runs" / "1" / "episodes", a="train", b="train").parent
    (run / "result.json").write_text(json.dumps({"candidate": "f00"}))
    assert trained_on(places, "f00") == {"a", "b"}
    assert trained_on(places, "other") == {"a"}


def test_the_table_has_a_row_a_test_set_and_their_difference():
    table = as_table({"compared": COMPARED}).set_index("test set")
    assert table.loc["new", "difference"] == pytest.approx(5.0)
    assert table.loc["frozen", "difference"] == pytest.approx(-0.6)
