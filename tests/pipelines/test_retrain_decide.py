"""What a retraining decides on before the gate is asked, by hand."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from components.evaluate.step import Config as Evaluate
from components.promote.step import Config as Promote
from moso.adapters.mlflow_registry import Registry
from moso.datasets.manifest import Manifest, Row
from moso.errors import ConfigError, MosoError
from moso.provenance import read_provenance, write_json, write_provenance
from moso.retraining.lease import FolderPlace, LeaseHeld, take
from pipelines import demo_retrain as demo
from pipelines.retrain import Project, retrain
from pipelines.retrain_decide import (
    as_table,
    beyond_tolerance,
    enough_to_judge,
    evaluation_of_new,
)
from pipelines.retrain_drift import stage_1_fails
from pipelines.retrain_figures import back_to_frozen, with_digests
from pipelines.retrain_settings import RetrainSettings
from pipelines.retrain_state import CANDIDATE, RESULT, Places, look, model_digest, trained_on

NAME = "moso-d"
JUDGED = {who: [f"{who} by an earlier call", f"{who} on the new set"] for who in ("champion", "candidate")}


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


def _model(folder: Path) -> dict[str, Path]:
    parts = {part: folder / part for part in ("vqvae", "transformer")}
    for part, path in parts.items():
        path.mkdir(parents=True)
        (path / "weights").write_text(folder.name)
        write_provenance(path, format=f"moso.{part}", version=1, step=f"train_{part}", config={}, inputs={})
    return parts


def _report(folder: Path, data_set: str, psnr: float) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", {"protocol": {"data_set": data_set}, "prediction": {"psnr": psnr}})
    write_provenance(folder, format="moso.report", version=1, step="evaluate", config={}, inputs={})
    return folder


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A registry's database with nothing in it; making its tables costs seconds, so tests copy it."""
    path = tmp_path_factory.mktemp("mlruns") / "mlflow.db"
    Registry(f"sqlite:///{path}")
    return path


@pytest.fixture
def registered(tmp_path, monkeypatch, empty_store):
    """A retraining with a registry of two versions, 1 the champion; `point` moves the alias."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    registry = Registry(uri)
    models = {who: _model(tmp_path / who) for who in ("champion", "candidate")}
    client = MlflowClient(uri, uri)
    client.create_registered_model(NAME)
    for who, model in models.items():
        tags = {
            "moso.model_digest": model_digest(model),
            "moso.protocol_digest": "new",
            "moso.metrics": "{}",
            "moso.report_digest": JUDGED[who][0],
        }
        client.create_model_version(NAME, source=str(tmp_path), tags=tags)
    registry.point("champion", NAME, 1)
    current = {"id": "1", "settings": "asked", "name": NAME, "champion": 1, "new": []}
    places = Places(tmp_path / "state", tmp_path / "first", tmp_path)
    places.run(current).mkdir(parents=True)
    write_json(places.state / "current.json", current)
    return SimpleNamespace(
        registry=registry,
        models=models,
        current=current,
        places=places,
        point=lambda number: registry.point("champion", NAME, number),
    )


def test_both_models_figures_are_those_of_the_frozen_set_again_whoever_is_the_champion(registered, tmp_path):
    """A rollback after the promotion must find a champion that the pipeline's candidates can be compared with."""
    reports = {
        who: _report(tmp_path / "reports" / who, "frozen", psnr)
        for who, psnr in (("champion", 17.0), ("candidate", 18.0))
    }
    registered.point(2)
    digests = {who: model_digest(model) for who, model in registered.models.items()}
    back_to_frozen(registered.registry, NAME, "champion", digests, JUDGED, reports)
    held = [registered.registry.lookup(f"models:/{NAME}/{number}").record() for number in (1, 2)]
    assert [one["metrics"]["prediction.psnr"] for one in held] == [17.0, 18.0]
    assert [one["protocol"] for one in held] == [{"data_set": "frozen"}] * 2
    assert held[0]["protocol_digest"] == held[1]["protocol_digest"] != "new"
    assert registered.registry.by_alias(NAME, "champion").number == 2


def test_what_earlier_calls_filed_is_known_beside_this_one_s(tmp_path):
    report = _report(tmp_path / "report", "new", 18.0)
    digest = read_provenance(report)["digest"]
    assert with_digests({}, {"candidate": report}) == {"candidate": [digest]}
    assert with_digests({"candidate": ["0", digest]}, {"candidate": report}) == {"candidate": ["0", digest]}


def _look(registered):
    """What `look` gives; a retraining that is not gone on with ends at the simulated source of its data set."""
    ingest = SimpleNamespace(spec=SimpleNamespace(source=SimpleNamespace(kind="simulate")))
    return look(registered.places, RetrainSettings(), ingest, Promote(), "asked")


def test_a_begun_retraining_is_gone_on_with_while_the_champion_is_the_one_it_began_from(registered):
    assert _look(registered) == (registered.current, None)


@pytest.mark.parametrize("moved_to", [2, None])
def test_one_whose_champion_was_moved_is_left_and_blocks_no_later_one(registered, capsys, moved_to):
    registered.point(moved_to)
    with pytest.raises(ConfigError, match=r"source\.kind"):
        _look(registered)
    assert f"retraining 1 began from version 1, and {NAME}@champion was moved since" in capsys.readouterr().out
    assert not (registered.places.state / "current.json").exists()


def _killed_while_it_decided(registered, moved_to):
    """The kill came between the filing of the new set's figures (the fixture's) and the put-back; then the champion was
    moved."""
    run = registered.places.run(registered.current)
    for who, psnr in (("champion", 17.0), ("candidate", 18.0)):
        _report(run / "reports" / "frozen" / who, "frozen", psnr)
    digests = {who: model_digest(model) for who, model in registered.models.items()}
    content = {"model_digest": digests["candidate"], "champion_digest": digests["champion"], "judged": JUDGED}
    write_json(run / CANDIDATE, content)
    if moved_to == 3:
        MlflowClient(registered.registry.tracking_uri).create_model_version(NAME, source=str(run))
    registered.point(moved_to)


@pytest.mark.parametrize("moved_to", [3, None])
def test_one_killed_while_it_decided_whose_champion_was_moved_leaves_no_figures_of_the_new_set(registered, moved_to):
    _killed_while_it_decided(registered, moved_to)
    with pytest.raises(ConfigError, match=r"source\.kind"):
        _look(registered)
    for number, psnr in ((1, 17.0), (2, 18.0)):
        held = registered.registry.lookup(f"models:/{NAME}/{number}").record()
        assert held["metrics"] == {"prediction.psnr": psnr}
        assert held["protocol"] == {"data_set": "frozen"}


def test_figures_that_somebody_filed_since_the_kill_stay(registered):
    """Version 1 was evaluated and filed anew, under another protocol, say."""
    _killed_while_it_decided(registered, None)
    client = MlflowClient(registered.registry.tracking_uri)
    newer = {"moso.report_digest": "a later one", "moso.metrics": '{"prediction.psnr": 21.0}'}
    for key, value in newer.items():
        client.set_model_version_tag(NAME, "1", key, value)
    with pytest.raises(ConfigError, match=r"source\.kind"):
        _look(registered)
    held = [registered.registry.lookup(f"models:/{NAME}/{number}").record() for number in (1, 2)]
    assert [one["metrics"]["prediction.psnr"] for one in held] == [21.0, 18.0]


def test_one_that_moved_the_champion_itself_or_has_a_result_is_gone_on_with(registered):
    registered.point(2)
    run = registered.places.run(registered.current)
    write_json(run / CANDIDATE, {"model_digest": model_digest(registered.models["candidate"])})
    assert _look(registered) == (registered.current, None)
    (run / CANDIDATE).unlink()
    write_json(run / RESULT, {"outcome": "promoted"})
    assert _look(registered) == (registered.current, None)


def test_a_retraining_that_cannot_go_on_is_told_and_one_beside_another_is_not(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MOSO_WEBHOOK", raising=False)
    project = Project(
        {**demo.params_of(tmp_path / "raw"), "dataset": "sim_push"},
        Places(tmp_path / "state", tmp_path / "episodes", tmp_path / "frames"),
    )
    with pytest.raises(MosoError):
        retrain(project, RetrainSettings())
    assert "retraining: sim_push: failed: " in capsys.readouterr().out
    take(FolderPlace(tmp_path / "state"), 600.0)
    with pytest.raises(LeaseHeld):
        retrain(project, RetrainSettings())
    assert "failed" not in capsys.readouterr().out


@pytest.mark.parametrize("lock", ["gs://bucket/moso", "S3://bucket/moso", "file:///mnt/lock"])
def test_an_address_that_is_no_s3_is_no_silent_folder(lock):
    with pytest.raises(ConfigError, match="lock"):
        RetrainSettings(lock=lock)
    assert RetrainSettings(lock="s3://bucket/moso").lock
    assert RetrainSettings(lock="/mnt/lock").lock
