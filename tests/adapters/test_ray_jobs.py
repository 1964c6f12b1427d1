"""A step that is handed to a Ray cluster by its Jobs API, as a Kubeflow pod hands it: on one real head on loopback.

Starting the head and each step's workers take half a minute each on an idle machine:

    python -m pytest tests/adapters/test_ray_jobs.py -m ray
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from components.config import load_params, resolve
from components.train_vqvae.step import Config
from moso.adapters.ray import RayError
from moso.adapters.ray_jobs import Away, Jobs
from moso.config import to_dict
from moso.provenance import read_provenance
from tests.adapters.ray_head import Head
from tests.adapters.ray_runs import ROOT, Run, end, frame_cache

CODE = "import json, sys; from components.main import call; call(**json.loads(sys.argv[1]))"
TRAINING = {"steps": 24, "checkpoint_every": 4}
TOKEN = "a-token-of-the-test"


class Pod:
    """A pod's container: the component's body in a folder of its own, which nobody else reads.

    Args:
        folder: made where it is not there.
        frames: the artefact frames.
        shared: the folder that pod and cluster mount.
        address: of the Jobs API.
        ray: more of params.yaml's `ray`.
    """

    def __init__(self, folder: Path, frames: Path, shared: Path, address: str, **ray: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        shared.mkdir(exist_ok=True)
        self.folder, self.shared = folder, shared
        self.output = folder / "artefacts" / "vqvae"
        self.started: list[subprocess.Popen[str]] = []
        params = {"dataset": "sim_push", "preset": "tiny", "seed": 0, "train_vqvae": {"training": TRAINING}}
        (folder / "params.yaml").write_text(json.dumps(params))
        config = resolve("train_vqvae", Config, load_params(folder / "params.yaml"), ROOT / "data" / "specs")
        self.arguments = {
            "step": "train_vqvae",
            "config": to_dict(config),
            "inputs": {"frames": str(frames)},
            "outputs": {"vqvae": str(self.output)},
            "ray": {"workers": 2, "address": address, "shared": str(shared), **ray},
        }

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """The container's process; both of its streams go to <folder>/log, which later starts append to."""
        # RAY_ADDRESS: what somebody has set for another cluster does not count
        settings = {
            "MOSO_TRACKING": "off",
            "MOSO_DEVICE": "cuda",
            "PYTHONPATH": str(ROOT),
            "RAY_ADDRESS": "elsewhere:1",
        }
        hidden = ("MOSO_", "RAY_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", CODE, json.dumps(self.arguments)],
                cwd=self.folder,
                env={**kept, **settings, **environment},
                stdout=log,
                stderr=log,
                text=True,
            )
        self.started.append(process)
        return process

    def begun(self, token: str) -> subprocess.Popen[str]:
        """The container's process, once the job has written a checkpoint."""
        process = self.start(RAY_AUTH_TOKEN=token)
        self.until(lambda: len(self.checkpoints()) > 0, process)
        return process

    def finish(self, process: subprocess.Popen[str], status: int = 0) -> None:
        """Wait for its end, which must be with `status`."""
        assert process.wait(timeout=1200) == status, self.log()

    def log(self) -> str:
        """All that its containers have said."""
        return (self.folder / "log").read_text()

    def last_line(self) -> str:
        """What the log ends in."""
        return self.log().strip().rpartition("\n")[2]

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints in the work folders on the shared folder."""
        return sorted(self.shared.glob("train_vqvae-*/work/train_vqvae/*/*/checkpoints/step_*"))

    def handed(self) -> list[Path]:
        """What lies on the shared folder for steps that are not done."""
        return sorted(path for path in self.shared.iterdir() if path.name not in ("held", "gone"))

    def until(self, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Wait until the condition holds, while the process runs."""
        while not condition():
            assert process.poll() is None, self.log()
            time.sleep(0.1)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame cache; to be read only."""
    return frame_cache(tmp_path_factory.mktemp("frames") / "frames")


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    started = Head()
    yield started
    started.end()


@pytest.fixture(scope="module")
def alone(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same step in two workers of an own Ray, without a cluster."""
    run = Run(tmp_path_factory.mktemp("alone"), "train_vqvae", {"frames": frames}, "vqvae", training=TRAINING)
    try:
        run.finish(run.start({"workers": 2}))
    finally:
        end(run.started[0])
    return run


@pytest.fixture
def pod(head: Head, frames: Path, tmp_path: Path) -> Iterator[Pod]:
    """A pod whose step that head is handed."""
    made = Pod(tmp_path / "pod", frames, tmp_path / "shared", head.address)
    yield made
    for process in made.started:
        end(process)


def assert_equal(ours: Path, theirs: Path) -> None:
    one, other = (load_file(folder / "model.safetensors") for folder in (ours, theirs))
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
    assert read_provenance(ours)["inputs"] == read_provenance(theirs)["inputs"]


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, Any]]]:
    """An HTTP server in the place of a head, and what it answers everything with: status and body."""
    answer: dict[str, Any] = {"status": 200, "body": ""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer["authorization"] = self.headers.get("authorization")
            self.send_response(answer["status"])
            if "length" in answer:
                self.send_header("content-length", str(answer["length"]))
            self.end_headers()
            self.wfile.write(answer["body"].encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}", answer
        made.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, "Unauthorized", "asks for a token; set RAY_AUTH_TOKEN"),
        (403, "Forbidden", "does not take this token; set RAY_AUTH_TOKEN to the cluster's own"),
        (200, "<html>sign in</html>", "does not answer as Ray's Jobs API does"),
        (200, '{"ray_version": "2.9.0"}', "runs Ray 2.9.0, this is .*; give the cluster and this step one image"),
        (404, "", "404"),
        (502, "", "answers with 502; is it the address of Ray's Jobs API"),
    ],
)
def test_a_cluster_that_is_not_ours_to_use_is_one_line(
    server: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, status: int, body: str, message: str
) -> None:
    address, answer = server
    answer |= {"status": status, "body": body}
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")  # what somebody has set for another cluster does not count
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://elsewhere:1")
    with pytest.raises(RayError, match=rf"ray\.address = '{address}': .*{message}") as raised:
        Jobs.at(address)
    assert "\n" not in str(raised.value)


def test_an_answer_that_breaks_off_is_a_cluster_that_is_away(
    server: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, answer = server
    answer |= {"body": '{"ray_ver', "length": 100}
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with pytest.raises(Away, match=rf"ray\.address = '{address}': no .*answer .*; is its head up") as raised:
        Jobs.at(address)
    assert "\n" not in str(raised.value)


def test_a_cluster_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: whoever calls is refused
        with pytest.raises(RayError, match=r"no answer .*; is its head up, with a dashboard") as raised:
            Jobs.at(f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert "\n" not in str(raised.value)


def test_a_pod_shows_its_token_and_lays_nothing_out_for_a_cluster_that_refuses_it(
    server: tuple[str, dict[str, Any]], frames: Path, tmp_path: Path
) -> None:
    address, answer = server
    answer |= {"status": 403, "body": "Forbidden"}
    pod = Pod(tmp_path / "pod", frames, tmp_path / "shared", address)
    pod.finish(pod.start(RAY_AUTH_TOKEN=TOKEN), status=1)
    assert answer["authorization"] == f"Bearer {TOKEN}"
    assert pod.last_line().startswith(f"train_vqvae: ray.address = '{address}': does not take this token")
    assert "Traceback" not in pod.log()
    assert TOKEN not in pod.log()
    assert pod.handed() == []


@pytest.mark.ray
def test_a_step_that_is_handed_over_gives_the_bytes_of_the_same_step_without_the_cluster(
    head: Head, pod: Pod, alone: Run
) -> None:
    pod.finish(pod.start(RAY_AUTH_TOKEN=head.token))
    assert_equal(pod.output, alone.output)
    assert "24/24" in pod.log()  # the job's log has come into the pod's
    assert "effective batch 2: 2 workers with 1 samples each, on the Ray cluster at" in pod.log()
    assert pod.handed() == []
    assert head.token not in pod.log()


@pytest.mark.ray
def test_a_pod_that_is_started_again_after_sigkill_goes_on_with_the_job_that_runs(
    head: Head, pod: Pod, alone: Run
) -> None:
    process = pod.begun(head.token)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (driver,) = head.drivers()
    again = pod.start(RAY_AUTH_TOKEN=head.token)
    pod.until(lambda: pod.log().count("(job train_vqvae-") == 2, again)
    assert driver.is_running()
    pod.finish(again)
    first, second = (line for line in pod.log().splitlines() if "(job train_vqvae-" in line)
    assert first == second
    assert first.endswith("-1)")
    assert_equal(pod.output, alone.output)


@pytest.mark.ray
def test_sigterm_at_the_pod_stops_the_job_which_goes_on_from_its_checkpoint_when_the_pod_is_started_again(
    head: Head, pod: Pod, alone: Run
) -> None:
    process = pod.begun(head.token)
    process.send_signal(signal.SIGTERM)
    pod.finish(process, status=143)
    assert pod.last_line().startswith("train_vqvae: stopped; run it again to go on (the job ")
    assert head.drivers() == []
    assert not pod.output.exists()
    pod.finish(pod.start(RAY_AUTH_TOKEN=head.token))
    assert "goes on from step" in pod.log()
    assert [line[-3:] for line in pod.log().splitlines() if "(job train_vqvae-" in line] == ["-1)", "-2)"]
    assert_equal(pod.output, alone.output)
    assert pod.handed() == []


@pytest.mark.ray
def test_an_error_of_the_step_on_the_cluster_is_the_line_in_which_the_pod_ends(head: Head, tmp_path: Path) -> None:
    pod = Pod(tmp_path / "pod", frame_cache(tmp_path / "frames", size=16), tmp_path / "shared", head.address)
    pod.finish(pod.start(RAY_AUTH_TOKEN=head.token), status=1)
    assert pod.last_line().startswith("train_vqvae: model.height = 32: the frames' height is 16")


@pytest.mark.ray
def test_another_token_than_the_cluster_s_or_none_is_one_line(head: Head, pod: Pod) -> None:
    pod.finish(pod.start(RAY_AUTH_TOKEN=TOKEN), status=1)
    assert "does not take this token" in pod.last_line()
    pod.finish(pod.start(), status=1)
    assert "asks for a token; set RAY_AUTH_TOKEN" in pod.last_line()
