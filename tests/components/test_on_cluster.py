"""What a step that is handed to a cluster leaves on the shared folder, tells the cluster, and makes of its answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.config import load_params, resolve
from components.on_cluster import (
    bring_back,
    check_code,
    copy_whole,
    done,
    environment,
    folder_of,
    judge,
    lay_out,
    remove,
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
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "params.yaml"] == []


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
