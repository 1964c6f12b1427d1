"""`mlflow models serve` with a registered model's folder: MLflow's own server answers as the facade does."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from moso.adapters import mlflow_model
from moso.tasks.model import Model

START_S = 240.0


@pytest.mark.slow
def test_mlflows_own_server_predicts_what_the_facade_predicts(first, frames, tmp_path):
    model = Model.from_parts(first.vqvae, first.transformer, "cpu")
    mlflow_model.save(tmp_path / "m", model, first.vqvae, first.transformer, np.load(first.report / "example.npy"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "m", "--env-manager", "local", "-p", str(port)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        asked = json.dumps({"inputs": frames.tolist(), "params": {"seed": 7, "steps": 2}}).encode()
        request = urllib.request.Request(f"{address}/invocations", asked, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            predicted = np.array(json.load(response)["predictions"])
    finally:
        os.killpg(server.pid, 15)
        server.wait(60)
    steps = dataclasses.replace(model.sampling, steps=2)
    np.testing.assert_array_equal(predicted, model.predict(frames, seed=7, sampling=steps))
