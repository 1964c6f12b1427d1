"""What a step that is handed to a cluster leaves on the shared folder, tells the cluster, and makes of its answer."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.config import load_params, resolve
from components.on_cluster import (
    _unwritable,
    bring_back,
    check_code,
    copy_whole,
    done,
    environment,
    folder_of,
    judge,
    lay_out,
    remove,
    run,
)
from components.on_ray import identity
from components.scaling import Scaling
from components.train_vqvae.step import Config
from moso.adapters.ray_jobs import Ended
from moso.config import build
from moso.errors import MismatchError, MosoError, StopRequested
from moso.provenance import FILE, digest_folder
from moso.step import StopSignal
from moso.training.work import work_key
from tests.adapters.ray_runs import frame_cache

ROOT = Path(__file__).parents[2]
HEAD = "http://moso-ray-head-svc:8265"


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame cache; to be read only."""
    return frame_cache(tmp_path_factory.mktemp("frames") / "frames")


@pytest.fixture
def config(tmp_path: Path) -> Any:
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"dataset": "sim_push", "preset": "tiny", "seed": 0}))
    return resolve("train_vqvae", Config, load_params(path), ROOT / "data" / "specs")


def handed_over(shared: Path, **more: Any) -> Scaling:
    return Scaling(workers=2, address=HEAD, shared=str(shared), **more)


def laid_out(folder: Path, config: Any, frames: Path, stop: StopSignal | None = None) -> dict[str, Any]:
    """The task that `lay_out` writes into `folder`."""
    key = work_key(identity("train_vqvae", config, {"frames": frames}))
    folder.mkdir(exist_ok=True)
    outputs = {"vqvae": folder.parent / "artefact"}
    path = lay_out(folder, key, "train_vqvae", config, {"frames": frames}, outputs, stop or StopSignal())
    return json.loads(path.read_text())


def test_the_inputs_lie_on_the_shared_folder_byte_for_byte_and_the_task_names_nothing_outside_it(
    config: Any, frames: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "handed"
    task = laid_out(folder, config, frames)
    assert digest_folder(folder / "inputs" / "frames") == digest_folder(frames)
    assert task["inputs"] == {"frames": str(folder / "inputs" / "frames")}
    assert task["outputs"] == {"vqvae": str(folder / "outputs" / "vqvae")}
    assert build(Config, task["config"], "train_vqvae") == config
    check_code(task)


def test_what_an_earlier_try_has_copied_is_taken_as_it_is(config: Any, frames: Path, tmp_path: Path) -> None:
    laid_out(tmp_path / "handed", config, frames)
    copied = tmp_path / "handed" / "inputs" / "frames"
    before = {path: path.stat().st_ino for path in copied.rglob("*")}
    (tmp_path / "handed" / "outputs" / "vqvae").mkdir(parents=True)  # of a try whose output was never brought back
    laid_out(tmp_path / "handed", config, frames)
    assert {path: path.stat().st_ino for path in copied.rglob("*")} == before
    assert not (tmp_path / "handed" / "outputs" / "vqvae").exists()


def test_a_kill_while_the_folder_is_removed_leaves_no_half_of_an_input_to_the_next_try(
    config: Any, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, "key")
    laid_out(folder, config, frames)

    def killed(path: Path) -> None:
        next(file for file in Path(path).rglob("*") if file.is_file()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("components.on_cluster.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(folder)
    assert not folder.exists()
    again = folder_of(tmp_path, "key")
    laid_out(again, config, frames)
    assert digest_folder(again / "inputs" / "frames") == digest_folder(frames)
    remove(again)
    assert not again.exists()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "params.yaml"] == []


def test_a_folder_that_cannot_be_removed_is_told_and_is_no_error_of_a_step_that_is_done(
    config: Any, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path, "key")
    laid_out(folder, config, frames)
    (tmp_path / "gone").write_text("")  # where folders are removed there is no folder
    remove(folder)
    told = capsys.readouterr().err
    assert told.startswith(f"{folder} cannot be removed (")
    assert told.endswith("and is yours to delete\n")
    assert folder.is_dir()


def test_a_folder_is_removed_although_an_earlier_one_of_its_name_could_not_be(
    config: Any, frames: Path, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, "key")
    for _ in range(2):
        laid_out(folder, config, frames)
        (tmp_path / "gone" / "key").mkdir(parents=True, exist_ok=True)
        (tmp_path / "gone" / "key" / "open elsewhere").write_text("")
        remove(folder)
        assert not folder.exists()


def test_what_the_cluster_has_done_while_nobody_was_there_is_whole_when_each_output_is(tmp_path: Path) -> None:
    outputs = {"vqvae": tmp_path / "a", "page": tmp_path / "b"}
    for name in outputs:
        assert not done(tmp_path, outputs)
        (tmp_path / "outputs" / name).mkdir(parents=True)
        assert not done(tmp_path, outputs)
        (tmp_path / "outputs" / name / FILE).write_text("{}")
    assert done(tmp_path, outputs)


def test_a_stop_while_inputs_are_copied_leaves_no_half_of_them(config: Any, frames: Path, tmp_path: Path) -> None:
    stop = StopSignal()
    stop.set()
    with pytest.raises(StopRequested, match="was copied"):
        laid_out(tmp_path / "handed", config, frames, stop)
    assert list((tmp_path / "handed" / "inputs").iterdir()) == []


def test_a_link_is_copied_as_what_it_leads_to(tmp_path: Path) -> None:
    """DVC can lay its cache into the working tree by links, which lead nowhere on another machine."""
    (tmp_path / "cache").write_bytes(b"frames")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "shard").symlink_to(tmp_path / "cache")
    copy_whole(tmp_path / "source", tmp_path / "target", StopSignal())
    assert not (tmp_path / "target" / "shard").is_symlink()
    assert (tmp_path / "target" / "shard").read_bytes() == b"frames"


def test_an_output_replaces_what_stood_at_the_artefact_s_path(tmp_path: Path) -> None:
    for name in ("written", "artefact"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
    bring_back(tmp_path / "written", tmp_path / "artefact")
    assert [path.name for path in (tmp_path / "artefact").iterdir()] == ["written"]


def test_other_code_on_the_cluster_is_refused(config: Any, frames: Path, tmp_path: Path) -> None:
    task = laid_out(tmp_path / "handed", config, frames)
    with pytest.raises(MismatchError, match=r"other code than the pod .*; give both one image"):
        check_code({**task, "key": task["key"][:-1] + "x"})


def test_the_job_s_workers_checkpoints_and_work_folders_are_the_cluster_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSO_DEVICE", "cuda")  # the pod's own
    told = environment(tmp_path, handed_over(tmp_path, gpus_per_worker=1))
    assert told["MOSO_WORK"] == str(tmp_path / "work")
    assert told["MOSO_DEVICE"] == "auto"
    ray = build(Scaling, json.loads(told["MOSO_RAY"]), "ray")
    assert ray == Scaling(workers=2, gpus_per_worker=1, address="auto", storage=str(tmp_path / "ray"))
    in_s3 = environment(tmp_path, handed_over(tmp_path, storage="s3://bucket/ray"))
    assert json.loads(in_s3["MOSO_RAY"])["storage"] == "s3://bucket/ray"


def test_the_cluster_is_told_names_and_addresses_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "arms")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:planted@mlflow")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "planted")
    told = environment(tmp_path, handed_over(tmp_path))
    assert told["MLFLOW_EXPERIMENT_NAME"] == "arms"
    assert "planted" not in json.dumps(told)
    assert "MLFLOW_TRACKING_URI holds a secret: the cluster is not told it" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["sqlite:////home/me/mlflow.db", "file:///home/me/mlruns", "./mlruns"])
def test_a_file_of_this_machine_is_no_mlflow_address_for_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    monkeypatch.delenv("MOSO_TRACKING", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert "MLFLOW_TRACKING_URI" not in environment(tmp_path, handed_over(tmp_path))
    told = capsys.readouterr().err
    assert "MLFLOW_TRACKING_URI is a file of this machine" in told
    assert "record stays on the cluster's head" in told


@pytest.mark.parametrize("address", ["http://mlflow:5000", "postgresql://database/mlflow", "databricks"])
def test_a_server_of_mlflow_is_told_to_the_cluster_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert environment(tmp_path, handed_over(tmp_path))["MLFLOW_TRACKING_URI"] == address
    assert capsys.readouterr().err == ""


def test_a_shared_folder_that_is_read_only_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    """As root no folder is closed by its rights: a read-only mount is."""
    error = OSError(errno.EROFS, "Read-only file system")
    assert str(_unwritable(tmp_path, error)).startswith(f"ray.shared = '{tmp_path}': cannot be written to (Read-only")
    full = OSError(errno.ENOSPC, "No space left on device")
    assert _unwritable(tmp_path, full) is full


class Cluster:
    """Ray's Jobs API of a cluster on which, for a pod that was killed, a job is stopping."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self.stopping, self.folder = ["j-1"], folder
        self.submitted: list[str] = []

    def running(self, name: str) -> str | None:
        return self.stopping[0] if self.stopping else None

    def follow(self, job: str, stop: StopSignal) -> Ended:
        if self.stopping:
            self.stopping.clear()
            return Ended(job, "FAILED", 143, "train_vqvae: stopped; run it again to go on")
        out = self.folder() / "outputs" / "vqvae"
        out.mkdir(parents=True)
        (out / FILE).write_text("{}")
        return Ended(job, "SUCCEEDED", 0, "")

    def submit(self, name: str, command: str, environment: dict[str, str]) -> str:
        self.submitted.append(name)
        return "j-2"


@pytest.mark.parametrize("stopped_too", [False, True])
def test_a_job_that_is_stopping_for_the_pod_before_is_waited_for_and_submitted_anew_unless_this_pod_is_stopped_too(
    config: Any, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stopped_too: bool
) -> None:
    shared, stop = tmp_path / "shared", StopSignal()
    shared.mkdir()
    cluster = Cluster(lambda: next(path for path in shared.iterdir() if path.name.startswith("train_vqvae-")))
    monkeypatch.setattr("moso.adapters.ray_jobs.Jobs.at", lambda _: cluster)
    if stopped_too:
        stop.set()
        with pytest.raises(StopRequested, match="j-1"):
            run("train_vqvae", config, {"frames": frames}, {"vqvae": tmp_path / "vqvae"}, handed_over(shared), stop)
        assert cluster.submitted == []
        return
    run("train_vqvae", config, {"frames": frames}, {"vqvae": tmp_path / "vqvae"}, handed_over(shared), stop)
    assert len(cluster.submitted) == 1
    assert (tmp_path / "vqvae" / FILE).is_file()


@pytest.mark.parametrize(
    ("ended", "kind", "line"),
    [
        (Ended("j-1", "FAILED", 1, "train_vqvae: a full disk"), MosoError, "a full disk"),
        (Ended("j-1", "FAILED", 1, "KeyError: 3"), MosoError, "j-1 on .* exit status 1: KeyError: 3; run it again"),
        (Ended("j-1", "FAILED", 137, "train_vqvae: 3/24"), MosoError, "exit status 137: 3/24"),
        (Ended("j-1", "FAILED", None, "no node"), MosoError, "before its command ran: no node"),
        (Ended("j-1", "FAILED", 143, "train_vqvae: stopped"), StopRequested, "j-1"),
        (Ended("j-1", "STOPPED", None, ""), StopRequested, "j-1"),
    ],
)
def test_a_job_that_did_not_succeed_says_its_own_line_or_how_it_ended(
    ended: Ended, kind: type[MosoError], line: str
) -> None:
    with pytest.raises(kind, match=line) as raised:
        judge("train_vqvae", HEAD, ended)
    assert isinstance(raised.value, StopRequested) == (kind is StopRequested)


def test_a_job_that_succeeded_is_no_error() -> None:
    judge("train_vqvae", HEAD, Ended("j-1", "SUCCEEDED", 0, ""))


def test_a_cluster_that_does_not_see_the_shared_folder_ends_the_job_in_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "components.on_cluster", "train_vqvae", str(tmp_path / "task.json")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"train_vqvae: the cluster does not see {tmp_path / 'task.json'}; mount the claim")
    assert ended.stderr.count("\n") == 1
