"""The example clients, against a real server."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from moso.serving.app import create_app
from moso.serving.champion import Champion
from moso.serving.service import Service
from moso.tasks.model import Model
from moso.video import read, write
from tests.small_model import SIZE, K, T, smooth_clips, write_model

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("served") / "model", 1)


@pytest.fixture(scope="module")
def address(folder):
    champion = Champion(str(folder), "cpu")
    champion.load()
    server = uvicorn.Server(uvicorn.Config(create_app(Service(champion)), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_python_client_gets_what_the_facade_gives(address, folder, tmp_path):
    frames = smooth_clips(2)[:, :K]
    np.save(tmp_path / "frames.npy", frames)
    line = [sys.executable, EXAMPLES / "client.py", address, tmp_path / "frames.npy", "--output", tmp_path / "out.npy"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "(2, 2, 2, 16, 16, 3)" in done.stdout
    expected = Model.load(folder, "cpu").predict(frames, seed=3, samples=2)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    np.save(tmp_path / "frames.npy", frames[:, :1])
    refused = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "422: frames: expected uint8 (N, 2, 16, 16, 3)" in refused.stderr


def test_the_script_with_curl_gets_every_form(address, tmp_path):
    np.save(tmp_path / "frames.npy", smooth_clips(1)[:, :K])
    write(tmp_path / "clip.mp4", smooth_clips(1, frames=6).repeat(2, axis=2).repeat(2, axis=3), 10.0)
    out = tmp_path / "out"
    arguments = [address, str(tmp_path / "frames.npy"), str(tmp_path / "clip.mp4"), str(out)]
    done = subprocess.run(["sh", str(EXAMPLES / "client.sh"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((out / "model.json").read_text())["given_frames"] == K
    assert np.load(out / "prediction.npy", allow_pickle=False).shape == (1, T - K, SIZE, SIZE, 3)
    assert read(out / "rollout.mp4").frames.shape == (1, 20, SIZE, SIZE, 3)
    assert read(out / "new.gif").frames.shape[2:] == (SIZE, SIZE, 3)
    assert read(out / "decoded.mp4").frames.shape == (1, T, SIZE, SIZE, 3)
    assert (out / "parts.png").read_bytes()[1:4] == b"PNG"
