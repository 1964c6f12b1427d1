"""What goes wrong on a cluster, met by real steps as Kubeflow's components call them: each ends in one line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from components.config import load_params, resolve
from moso.config import to_dict

ROOT = Path(__file__).parents[2]
CODE = "import json, sys; from components.main import call; call(**json.loads(sys.argv[1]))"


@pytest.fixture
def failed(tmp_path: Path):
    """The line in which a component ends that fails: failed(step, config, inputs, environment)."""

    def run(step: str, config: Mapping[str, Any], inputs: Mapping[str, str], **environment: str) -> str:
        outputs = {name: str(tmp_path / name) for name in ("episodes", "vqvae")}
        arguments = {"step": step, "config": config, "inputs": inputs, "outputs": outputs}
        hidden = ("AWS_", "MLFLOW_", "MOSO_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        # no credentials of this machine's own
        nothing = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "HOME": str(tmp_path)}
        nothing |= {"AWS_EC2_METADATA_DISABLED": "true", "PYTHONPATH": str(ROOT), "MOSO_TRACKING": "off"}
        done = subprocess.run(
            [sys.executable, "-c", CODE, json.dumps(arguments)],
            cwd=tmp_path,
            env={**kept, **nothing, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        line = done.stderr.rstrip("\n").rpartition("\n")[2]
        assert line.startswith(f"{step}: ")
        return line

    return run


def section(step: str, tmp_path: Path, schema: type, **overrides: Any) -> dict[str, Any]:
    """A resolved section of the tiny configuration, in plain data."""
    (tmp_path / "params.yaml").write_text(json.dumps({"dataset": "sim_push", "preset": "tiny", "seed": 0, **overrides}))
    return to_dict(resolve(step, schema, load_params(tmp_path / "params.yaml"), ROOT / "data" / "specs"))


def recordings(tmp_path: Path, endpoint: str | None) -> dict[str, Any]:
    """ingest's settings for recordings in a bucket."""
    from components.ingest.step import Config

    found = section("ingest", tmp_path, Config)
    found["spec"]["source"] = {"kind": "s3", "url": "s3://moso-raw/arms", "endpoint": endpoint}
    return found


def test_a_missing_secret_is_named_with_the_variables_that_it_holds(failed, tmp_path: Path) -> None:
    line = failed("ingest", recordings(tmp_path, "http://127.0.0.1:9"), {})
    assert "no credentials for S3" in line
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line


@pytest.mark.slow
def test_an_s3_that_is_away_is_named_and_what_has_come_stays(failed, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: whoever calls is refused
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret-of-the-test"}
        line = failed("ingest", recordings(tmp_path, endpoint), {}, **keys)
    assert endpoint in line
    assert "see that it is up and reachable, then run again: what has come stays" in line
    assert "secret-of-the-test" not in line


def test_an_image_without_a_gpus_driver_ends_where_a_gpu_was_asked_for(failed, tmp_path: Path) -> None:
    import torch

    from components.train_vqvae.step import Config
    from tests.adapters.ray_runs import frame_cache

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU and its driver")
    frames = frame_cache(tmp_path / "frames")
    config = section("train_vqvae", tmp_path, Config)
    line = failed("train_vqvae", config, {"frames": str(frames)}, MOSO_DEVICE="cuda")
    assert "device = 'cuda': torch finds 0 GPUs here; " in line
    assert "'auto'" in line


@pytest.fixture
def guarded() -> Iterator[str]:
    """The address of an MLflow server that asks for credentials, and is given none."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b"You are not authenticated.")

        do_POST = do_GET

        def log_message(self, *said: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_mlflow_that_wants_credentials_is_named_with_the_variables_that_hold_them(
    failed, guarded: str, tmp_path: Path
) -> None:
    from components.train_vqvae.step import Config
    from tests.adapters.ray_runs import frame_cache

    frames = frame_cache(tmp_path / "frames")
    config = section("train_vqvae", tmp_path, Config)
    settings = {"MLFLOW_TRACKING_URI": guarded, "MOSO_TRACKING": "on", "OMP_NUM_THREADS": "1"}
    line = failed("train_vqvae", config, {"frames": str(frames)}, **settings)
    assert f"MLflow at {guarded} cannot be used" in line
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN" in line
