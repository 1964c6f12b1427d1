import pytest

from moso.adapters.mlflow_client import connect


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """An sqlite store of the module's own; making its tables costs seconds, so the module's tests share it."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlruns') / 'mlflow.db'}"
    connect(uri)
    return uri
