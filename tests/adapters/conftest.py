"""An MLflow store, an S3 server with a proxy before it that fails on purpose; `import faulty_proxy` and `ray_runs`."""

import importlib.util
import logging
import os
import sys
import uuid
from pathlib import Path

import pytest

from moso.adapters.mlflow_client import connect

for _name in ("faulty_proxy", "ray_runs"):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).parent / f"{_name}.py")
    sys.modules[_name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_name])
faulty_proxy = sys.modules["faulty_proxy"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """An sqlite store of the module's own; making its tables costs seconds, so the module's tests share it."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlruns') / 'mlflow.db'}"
    connect(uri)
    return uri


@pytest.fixture(scope="session")
def s3_server():
    """(host, port) of a local S3 server: moto's, over real HTTP."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request otherwise
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def credentials(monkeypatch, tmp_path):
    """Credentials as a user sets them, and nothing of the machine's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def s3(s3_server, credentials):
    """A client of the server itself, and the name of a new, empty bucket."""
    import boto3

    client = boto3.client("s3", endpoint_url="http://{}:{}".format(*s3_server))
    bucket = f"moso-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    return client, bucket


@pytest.fixture
def proxy(s3_server):
    """The proxy before the server; without faults until a test asks for them."""
    proxy = faulty_proxy.Proxy(s3_server)
    yield proxy
    proxy.close()
