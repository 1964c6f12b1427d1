"""The registry at `mlflow server` on PostgreSQL, files in an S3 store: promoted, decided, rolled back and loaded there.

All three are real and on loopback. One server for all tests of this file; each has a model name of its own.
"""

import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from components.promote.step import Config, run
from moso.adapters import mlflow_lock
from moso.adapters.mlflow_client import TrackingError, connect
from moso.adapters.mlflow_decisions import DecisionLog
from moso.adapters.mlflow_registry import Registry
from moso.cli.registry import command
from moso.registry.decision_log import Aliases
from moso.step import Context
from moso.tasks.model import Model
from tests.running_server import free_port, running
from tests.serving import postgres

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PASSWORD, KEY = "planted-password-of-the-database", "planted-key-of-the-store"


@pytest.fixture(scope="module")
def files():
    """Address of an S3 store (moto's server) with the bucket `mlflow`, and a client of it."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "moso", "aws_secret_access_key": KEY, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=address, **keys)
    client.create_bucket(Bucket="mlflow")
    yield address, client
    server.stop()


@pytest.fixture(scope="module")
def uri(files, tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    line = [sys.executable, "-m", "mlflow", "server", *options, "--artifacts-destination", "s3://mlflow/artifacts"]
    with postgres.running(PASSWORD) as database:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MLFLOW_BACKEND_STORE_URI": database,
            "MLFLOW_S3_ENDPOINT_URL": files[0],
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes that nothing here asks for
            "AWS_ACCESS_KEY_ID": "moso",
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        address = f"http://127.0.0.1:{port}"
        with running(line, f"{address}/health", folder, environment):
            yield address


def promote(trained, uri: str, folder: Path, name: str) -> dict:
    context = Context(work=folder / "work", options={"tracking_uri": uri})
    run(Config(model=name), trained.inputs(), {"promotion": folder / "promotion.json"}, context)
    return json.loads((folder / "promotion.json").read_text())


def test_promotion_decisions_and_files_are_those_of_a_registry_beside_the_project(
    first, second, uri, files, frames, tmp_path, monkeypatch, capfd
):
    assert promote(first, uri, tmp_path, "moso-there")["decision"]["outcome"] == "promoted"
    record = promote(second, uri, tmp_path, "moso-there")
    assert (record["version"], record["decision"]["gain"], record["log"]["number"]) == (2, 1.0, 2)
    assert promote(second, uri, tmp_path, "moso-there") == record
    history = DecisionLog(Registry(uri), "moso-there").history()
    assert (history.fault, history.aliases) == ("", Aliases(champion=2, challenger=None, previous=1))

    # The files are in the store, and nowhere on the client's disk.
    pages = files[1].get_paginator("list_objects_v2").paginate(Bucket="mlflow")
    names = [item["Key"] for page in pages for item in page["Contents"]]
    for kept in ("decision.json", "per_clip.parquet", "index.html", "model_card.md", "MLmodel"):
        assert [name for name in names if name.endswith(f"/{kept}")], kept

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MOSO_CACHE", str(tmp_path / "cache"))
    loaded, model = (
        Model.load("models:/moso-there@champion", "cpu"),
        Model.from_parts(*list(second.inputs().values())[:2], "cpu"),
    )
    assert loaded.digest == model.digest
    code = "import mlflow, numpy as np; m = mlflow.pyfunc.load_model('models:/moso-there@champion'); "
    code += "np.save('said.npy', m.predict(np.load('frames.npy'), params={'seed': 3}))"
    np.save(tmp_path / "frames.npy", frames)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "said.npy"), model.predict(frames, seed=3))

    runner = CliRunner()
    back = runner.invoke(command, ["rollback", "moso-there", "--reason", "it blurs the gripper"])
    assert (back.exit_code, "version 2 rolled_back  (champion 1, challenger 2)" in back.output) == (0, True), (
        back.output
    )
    assert promote(second, uri, tmp_path, "moso-there")["decision"]["outcome"] == "refused"
    shown = runner.invoke(command, ["history", "moso-there"])
    assert shown.exit_code == 0
    assert "whole: 4 decisions" in shown.output

    # Neither password nor key reaches a client, its output, or what others read of the store.
    said = capfd.readouterr()
    read = [said.out, said.err, shown.output, (tmp_path / "promotion.json").read_text()]
    read += [files[1].get_object(Bucket="mlflow", Key=name)["Body"].read().decode("latin-1") for name in names]
    assert [text[:200] for text in read if PASSWORD in text or KEY in text] == []


def test_of_8_that_promote_at_once_through_the_server_one_is_the_champion_and_the_log_is_whole(uri):
    client = connect(uri)
    client.create_registered_model("moso-crowd")
    versions = [client.create_model_version("moso-crowd", source=f"s3://mlflow/none/{i}") for i in range(8)]
    numbers = [int(version.version) for version in versions]

    def promote_by_hand(number: int) -> None:
        log = DecisionLog(Registry(uri), "moso-crowd")
        log.promote(log.registry.lookup(f"models:/moso-crowd/{number}"), "at once")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(promote_by_hand, numbers))
    history = DecisionLog(Registry(uri), "moso-crowd").history()
    entries = history.chain.entries
    assert history.fault == ""
    assert sorted(entry.version for entry in entries) == numbers
    assert [entry.before.champion for entry in entries] == [None, *(entry.version for entry in entries[:-1])]
    assert history.aliases == Aliases(entries[-1].version, None, entries[-2].version)
    holders = [n for n in numbers if "champion" in client.get_model_version("moso-crowd", str(n)).aliases]
    assert holders == [entries[-1].version]


def test_a_holder_that_died_with_the_server_s_lock_does_not_block_for_ever(uri):
    client = connect(uri)
    dead = mlflow_lock._Generations(client, uri, "moso-dead", 60.0)
    dead.take()  # and no beat: its process is gone
    with mlflow_lock.hold(uri, "moso-dead", lease_s=1.0) as check:
        check()
        with pytest.raises(TrackingError, match="taken over"):
            dead.check()
