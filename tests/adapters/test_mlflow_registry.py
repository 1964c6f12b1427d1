"""Whether an alias exists is the registry's to say: a failing server is no answer."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from moso.adapters.mlflow_client import TrackingError, experiment_id
from moso.adapters.mlflow_registry import Registry, Version, addresses


class Server(http.server.BaseHTTPRequestHandler):
    """Answers every request with `answer`: a status and a body."""

    answer = (200, "{}")

    def do_GET(self) -> None:
        status, body = type(self).answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[tuple[str, type[Server]]]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    handler = type("Handler", (Server,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", handler
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        (503, "upstream is away"),
        (404, "no such page"),
        (400, "bad gateway settings"),
        (500, json.dumps({"error_code": "INTERNAL_ERROR", "message": "the table of aliases is locked"})),
        (403, json.dumps({"error_code": "PERMISSION_DENIED", "message": "you may not read this alias"})),
        (400, json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "the model's name is too long"})),
    ],
)
def test_a_server_that_fails_is_no_missing_alias(server, answer):
    uri, handler = server
    registry = Registry(uri)
    handler.answer = answer
    with pytest.raises(TrackingError, match="refused"):
        registry.by_alias("moso-toy", "champion")


def test_a_server_that_went_away_is_no_missing_alias(server):
    uri, _ = server
    registry = Registry(uri)
    registry._client = MlflowClient("http://127.0.0.1:9", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match="registered-models/alias"):
        registry.by_alias("moso-toy", "champion")


@pytest.mark.parametrize(
    "answer",
    [
        (404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no model moso-toy"})),
        (400, json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "Registered model alias x not found."})),
    ],
)
def test_no_model_and_no_alias_are_no_version(server, answer):
    uri, handler = server
    registry = Registry(uri)
    handler.answer = answer
    assert registry.by_alias("moso-toy", "champion") is None


@pytest.mark.parametrize("answer", [(503, "upstream is away"), (404, "no such page")])
def test_a_server_that_fails_is_no_missing_file_of_a_version(server, answer, tmp_path):
    uri, handler = server
    registry = Registry(uri)
    handler.answer = answer
    with pytest.raises(TrackingError, match="refused"):
        registry.kept(Version("moso-toy", 1, {}, "0" * 32), "per_clip/d/per_clip.parquet", tmp_path)


def test_the_command_that_moves_an_alias_shows_no_password(server):
    uri, handler = server
    registry = Registry(uri.replace("http://", "http://me:hunter2@"))
    handler.answer = (200, json.dumps({"model_version": {"name": "moso-toy", "version": "3"}}))
    version = registry.by_alias("moso-toy", "champion")
    command = registry.command_to_promote("champion", version)
    assert "registry promote models:/moso-toy/3 --reason" in command
    assert "hunter2" not in command


def test_registered_models_are_listed_as_addresses(store, tmp_path, monkeypatch):
    client = MlflowClient(store, store)
    for name in ("moso-pointed", "moso-plain"):
        client.create_registered_model(name)
        for _ in range(2):
            client.create_model_version(name, source=str(tmp_path))
    client.set_registered_model_alias("moso-pointed", "champion", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert addresses() == ["models:/moso-plain/2", "models:/moso-pointed@champion"]


def test_where_there_is_no_registry_nothing_is_listed_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert addresses() == []
    assert not list(tmp_path.iterdir())


def test_a_file_kept_with_a_version_is_found_below_its_place_alone(store, tmp_path):
    client = MlflowClient(store, store)
    run_id = client.create_run(experiment_id(client, store)).info.run_id
    client.create_registered_model("moso-keeps")
    made = client.create_model_version("moso-keeps", source=str(tmp_path), run_id=run_id)
    registry, version = Registry(store), Version("moso-keeps", int(made.version), {}, run_id)
    file = tmp_path / "table.txt"
    for text in ("first", "second"):  # of one name: the last one stands
        file.write_text(text)
        registry.keep(version, file, "tables/a")
    came = tmp_path / "came"
    came.mkdir()
    assert registry.kept(version, "tables/a/table.txt", came).read_text() == "second"
    assert registry.kept(version, "tables/b/table.txt", came) is None
    assert registry.kept(version, "table.txt", came) is None
    assert registry.kept(Version("moso-keeps", 1, {}, "0" * 32), "table.txt", came) is None  # no such run
