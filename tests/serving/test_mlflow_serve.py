"""`mlflow models serve` with a registered model's folder: MLflow's own server answers as the facade does."""

import dataclasses
import json
import os
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from moso.adapters import mlflow_model
from moso.tasks.model import Model
from tests.running_server import free_port, running


@pytest.mark.slow
def test_mlflows_own_server_predicts_what_the_facade_predicts(first, frames, tmp_path):
    model = Model.from_parts(first.vqvae, first.transformer, "cpu")
    mlflow_model.save(tmp_path / "m", model, first.vqvae, first.transformer, np.load(first.report / "example.npy"))
    port = free_port()
    line = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "m", "--env-manager", "local", "-p", str(port)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    address = f"http://127.0.0.1:{port}"
    with running(line, f"{address}/ping", tmp_path, environment):
        asked = json.dumps({"inputs": frames.tolist(), "params": {"seed": 7, "steps": 2}}).encode()
        request = urllib.request.Request(f"{address}/invocations", asked, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            predicted = np.array(json.load(response)["predictions"])
    steps = dataclasses.replace(model.sampling, steps=2)
    np.testing.assert_array_equal(predicted, model.predict(frames, seed=7, sampling=steps))
