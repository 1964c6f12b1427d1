import importlib.metadata
import math
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from moso.adapters.mlflow_client import TrackingError, connect, default_tracking_uri
from moso.adapters.mlflow_tracking import MlflowTracker, flatten
from moso.provenance import code_digest, git_commit

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Inner:
    width: int = 8


@dataclass(frozen=True)
class Settings:
    model: Inner = Inner()
    factors: tuple[int, ...] = (4, 8)


def history(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in connect(uri).get_metric_history(run_id, name)]


def test_a_run_holds_params_curves_figures_files_and_where_the_code_came_from(store, tmp_path):
    tracker = MlflowTracker(store)
    run_id = tracker.start("train", params={"train": Settings(), "seed": 3}, tags={"moso.data_digest": "d" * 64})
    for step in range(5):
        tracker.metrics({"loss": 1.0 / (step + 1), "val/psnr": 20.0 + step}, step)
    tracker.summary({"prediction.psnr": 22.5})
    file = tmp_path / "history.csv"
    file.write_text("step,loss\n")
    tracker.artifact(file)
    tracker.finish()

    client = connect(store)
    run = client.get_run(run_id)
    assert run.data.params == {"train.model.width": "8", "train.factors": "[4, 8]", "seed": "3"}
    assert run.data.tags["moso.data_digest"] == "d" * 64
    assert run.data.tags["moso.git_commit"] == git_commit()
    assert run.data.tags["moso.code_digest"] == code_digest()
    assert history(store, run_id, "loss") == [(step, 1.0 / (step + 1)) for step in range(5)]
    assert run.data.metrics["prediction.psnr"] == 22.5
    assert [item.path for item in client.list_artifacts(run_id)] == ["history.csv"]
    assert run.info.status == "FINISHED"


def test_a_final_figure_ends_its_curve_instead_of_beginning_it_again(store):
    tracker = MlflowTracker(store)
    run_id = tracker.start("train", params={}, tags={})
    tracker.metrics({"loss": 2.0}, 10)
    tracker.metrics({"loss": 1.0}, 20)
    tracker.summary({"loss": 1.0})
    tracker.finish()
    assert set(history(store, run_id, "loss")) == {(10, 2.0), (20, 1.0)}


def test_artifacts_lie_beside_the_database_whatever_the_current_folder(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracker = MlflowTracker(store)
    run_id = tracker.start("train", params={}, tags={})
    tracker.finish()
    place = connect(store).get_run(run_id).info.artifact_uri
    assert place.startswith((Path(store.removeprefix("sqlite:///")).parent / "artifacts").as_uri())
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_training_goes_on_in_the_same_run(store):
    first = MlflowTracker(store)
    run_id = first.start("train", params={"steps": 4}, tags={})
    first.metrics({"loss": 2.0}, 1)
    first.finish("KILLED")
    second = MlflowTracker(store)
    # A setting that does not count towards the result may differ; MLflow would refuse to change it.
    assert second.start("train", run_id=run_id, params={"steps": 8, "more": 1}, tags={}) == run_id
    assert connect(store).get_run(run_id).info.status == "RUNNING"
    second.metrics({"loss": 1.0}, 2)
    second.finish()
    run = connect(store).get_run(run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"steps": "4", "more": "1"})
    assert history(store, run_id, "loss") == [(1, 2.0), (2, 1.0)]


def test_a_run_resumed_at_its_end_writes_its_summary_there_and_not_at_step_0(store):
    first = MlflowTracker(store)
    run_id = first.start("train", params={}, tags={})
    first.metrics({"loss": 2.0, "psnr": 20.0}, 10)
    first.metrics({"loss": 1.0}, 20)
    first.finish("KILLED")
    second = MlflowTracker(store)
    second.start("train", run_id=run_id, params={}, tags={})
    second.summary({"psnr": 21.0})
    second.finish()
    assert history(store, run_id, "psnr") == [(10, 20.0), (20, 21.0)]
    # The same tracker's next run is a new one, and begins at 0.
    third = second.start("train", params={}, tags={})
    second.summary({"psnr": 5.0})
    second.finish()
    assert history(store, third, "psnr") == [(0, 5.0)]


def test_a_run_id_from_another_store_begins_a_new_run_and_says_so(store, capsys):
    gone = "0" * 32
    tracker = MlflowTracker(store)
    run_id = tracker.start("train", run_id=gone, params={}, tags={})
    tracker.finish()
    assert run_id != gone
    assert connect(store).get_run(run_id).data.tags["moso.resumed_from"] == gone
    assert gone in capsys.readouterr().err


def test_more_points_than_a_request_takes_all_arrive_and_nan_too(store):
    tracker = MlflowTracker(store, flush_period_s=60.0)
    run_id = tracker.start("train", params={f"p{i}": i for i in range(150)}, tags={})
    for step in range(1200):
        tracker.metrics({"loss": float(step)}, step)
    tracker.metrics({"other": math.nan}, 0)
    tracker.finish()
    assert len(history(store, run_id, "loss")) == 1200
    assert math.isnan(history(store, run_id, "other")[0][1])
    assert len(connect(store).get_run(run_id).data.params) == 150


def test_points_are_written_while_the_training_goes_on(store):
    tracker = MlflowTracker(store, flush_period_s=0.01)
    run_id = tracker.start("train", params={}, tags={})
    tracker.metrics({"loss": 1.0}, 1)
    waiting = threading.Event()
    for _ in range(1000):
        if history(store, run_id, "loss"):
            break
        waiting.wait(0.01)
    assert history(store, run_id, "loss") == [(1, 1.0)]
    tracker.finish()


def test_a_server_that_goes_away_costs_points_but_not_the_training(store, capsys, monkeypatch):
    tracker = MlflowTracker(store, flush_period_s=60.0)
    run_id = tracker.start("train", params={}, tags={})

    def away(*args: object, **kwargs: object) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(tracker._client, "log_batch", away)
    tracker.metrics({"loss": 1.0}, 1)
    tracker.finish()
    said = capsys.readouterr().err
    assert "nobody there" in said
    assert "1 points of curves could not be written" in said
    assert history(store, run_id, "loss") == []


def test_an_address_where_nothing_answers_is_one_line_at_the_start(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no database")
    for uri in (f"sqlite:///{blocked}", "http://me:hunter2@127.0.0.1:9"):
        with pytest.raises(TrackingError) as error:
            MlflowTracker(uri).start("train", params={}, tags={})
        assert "cannot be used" in str(error.value)
        assert "\n" not in str(error.value)
        assert "hunter2" not in str(error.value)


def test_the_folder_mlflow_does_not_pass_for_the_package(monkeypatch):
    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none)
    with pytest.raises(TrackingError, match="mlflow is not installed"):
        MlflowTracker("sqlite:///never.db").start("train", params={}, tags={})


def test_the_folder_mlflow_holds_no_python():
    assert (ROOT / "mlflow").is_dir()
    assert list((ROOT / "mlflow").rglob("*.py")) == []


def test_params_stay_within_the_limits_and_carry_no_secret():
    flat = flatten(
        {"a": {"b": [1, 2], "empty": {}}, "long": "x" * 9000, "w@rd k": None, "source": {"password": "hunter2"}}
    )
    assert flat["a.b"] == "[1, 2]"
    assert flat["a.empty"] == "{}"
    assert len(flat["long"]) == 6000
    assert flat["long"].endswith("(9000 characters)")
    assert flat["w_rd k"] == "null"
    assert flat["source.password"] == "***"


def test_the_variable_wins_over_the_default_address(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_tracking_uri(tmp_path) == f"sqlite:///{tmp_path.resolve()}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert default_tracking_uri(tmp_path) == "http://server:5000"
