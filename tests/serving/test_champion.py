"""A new champion is taken up while requests run: a real registry, a real server, real requests."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from moso.adapters import mlflow_model
from moso.adapters.mlflow_client import connect
from moso.adapters.mlflow_registry import MODEL_DIGEST, Registration, Registry
from moso.cli.serve import command
from moso.errors import MosoError
from moso.serving.champion import Champion
from moso.tasks.model import Model

NAME, REFERENCE = "moso-toy", "models:/moso-toy@champion"
WITHIN_S = 30.0


def register(uri: str, trained) -> tuple[Registry, object]:
    """A version as promote files it, without its figures."""
    registry = Registry(uri)
    model = Model.from_parts(trained.vqvae, trained.transformer, "cpu")
    example = np.load(trained.report / "example.npy")

    def save(folder: Path, entry: object) -> None:
        mlflow_model.save(folder, model, trained.vqvae, trained.transformer, example, entry)

    return registry, registry.register(NAME, save, Registration({MODEL_DIGEST: model.digest}, {}, {}))


@pytest.fixture(scope="module")
def store(tmp_path_factory, first, second):
    """A registry with two versions and no alias, and the cache that downloads go to."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    connect(uri)
    versions = [register(uri, trained)[1] for trained in (first, second)]
    return folder, uri, versions


@pytest.fixture
def registry(store, monkeypatch) -> Registry:
    folder, uri, versions = store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MOSO_CACHE", str(folder / "cache"))
    found = Registry(uri)
    found.point("champion", versions[0].name, versions[0].number)
    return found


def test_another_version_behind_the_alias_is_put_in_place_and_back(registry, store, first, second):
    _, _, versions = store
    champion = Champion(REFERENCE, "cpu")
    champion.load()
    assert champion.get().version == 1
    assert not champion.refresh()
    registry.point("champion", versions[1].name, versions[1].number)
    before = champion.get()
    assert champion.refresh()
    assert champion.get().version == 2
    assert champion.get().model.digest == Model.from_parts(second.vqvae, second.transformer, "cpu").digest
    assert before.model.digest == Model.from_parts(first.vqvae, first.transformer, "cpu").digest  # requests keep theirs
    registry.point("champion", versions[0].name, versions[0].number)  # a rollback
    assert champion.refresh()
    assert champion.get().version == 1


def test_what_cannot_be_loaded_leaves_the_old_one_serving_and_is_tried_again(registry, store, monkeypatch):
    folder, _, versions = store
    champion = Champion(REFERENCE, "cpu", poll_s=0.05)
    champion.load()
    changed = threading.Event()
    # Nothing of version 2 can be kept: its load fails.
    monkeypatch.setenv("MOSO_CACHE", "/dev/null/cache")
    registry.point("champion", versions[1].name, versions[1].number)
    champion.watch(changed.set)
    until = time.monotonic() + WITHIN_S
    while not champion.failures and time.monotonic() < until:
        time.sleep(0.01)
    assert champion.failures
    assert champion.get().version == 1
    monkeypatch.setenv("MOSO_CACHE", str(folder / "cache"))
    assert changed.wait(WITHIN_S)
    assert champion.get().version == 2
    champion.close()


def test_an_alias_moves_a_version_and_a_folder_do_not(first):
    assert Champion(REFERENCE).moves
    assert not Champion("models:/moso-toy/1").moves
    assert not Champion(str(first.vqvae.parent)).moves
    with pytest.raises(MosoError):
        Champion("models:/nobody@champion", "cpu").load()


class Server:
    """`moso serve` in a process of its own."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("w") as file:
            line = [sys.executable, "-m", "moso.cli", "serve", *arguments, "--port", "0", "--device", "cpu"]
            self.process = subprocess.Popen(line, env={**os.environ, **environment}, stderr=file, stdout=file)
        self.address = self._address()

    def _address(self) -> str:
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            for line in self.log.read_text().splitlines():
                if "running on http" in line:
                    return "http" + line.partition("http")[2].split()[0]
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def ask(self, path: str, content: bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
        request = urllib.request.Request(
            self.address + path, data=content, headers={"Content-Type": "application/x-npy"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read(), dict(response.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def test_the_server_takes_up_a_new_champion_within_30_seconds_and_no_request_fails(
    registry, store, first, second, tmp_path
):
    _, uri, versions = store
    server = Server([REFERENCE, "--poll", "1"], {"MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"}, tmp_path / "log")
    try:
        frames = np.load(first.report / "example.npy")
        buffer = io.BytesIO()
        np.save(buffer, frames)
        expected = {
            str(n): Model.from_parts(trained.vqvae, trained.transformer, "cpu").predict(frames, seed=3)
            for n, trained in ((1, first), (2, second))
        }
        answers, ended = [], threading.Event()

        def ask() -> None:
            while not ended.is_set():
                answers.append(server.ask("/v1/predict?seed=3", buffer.getvalue()))

        callers = [threading.Thread(target=ask) for _ in range(3)]
        for caller in callers:
            caller.start()
        while len(answers) < 6:
            time.sleep(0.01)
        registry.point("champion", versions[1].name, versions[1].number)
        until = time.monotonic() + WITHIN_S
        while json.loads(server.ask("/v1/model")[1])["version"] != 2:
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.05)
        seen = len(answers)
        while len(answers) < seen + 6:
            time.sleep(0.01)
        ended.set()
        for caller in callers:
            caller.join()
        assert [status for status, _, _ in answers if status != 200] == []
        by_version = {headers["x-moso-version"] for _, _, headers in answers}
        assert by_version == {"1", "2"}
        for _, content, headers in answers:  # each of one model, whole
            np.testing.assert_array_equal(np.load(io.BytesIO(content)), expected[headers["x-moso-version"]])
        assert b"moso_model_changes 1.0" in server.ask("/metrics")[1]
    finally:
        assert server.end() in (0, -signal.SIGTERM)


def test_serve_refuses_what_is_no_model(tmp_path):
    with pytest.raises(MosoError, match="a model is a folder with vqvae/ and transformer/"):
        command.main([str(tmp_path), "--port", "0"], standalone_mode=False)
