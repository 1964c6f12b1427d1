"""The first contact with MLflow: is it installed, where is it, does it answer; failures as one line.

Nothing here touches MLflow's global address (mlflow.set_tracking_uri): two trackers of one process stay apart.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from moso.adapters.redact import redact
from moso.errors import MosoError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "moso"
# What a person who asked for nothing would not expect of a training: usage figures sent out, the project's files copied
# into models, a `pip install --dry-run` against the network at each model saved, bars for copying ten files, a note at
# the end of every run.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# Two short tries at the first contact with a server, where MLflow would try for minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}

# MLflow's client says 401 and 403 in this text alone.
_DENIED = re.compile(r"error code 40[13]\b")
LOG_IN = "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN (on Kubeflow: a Secret)"


class TrackingError(MosoError):
    """MLflow is not installed, or the tracking server or registry cannot be reached or refuses."""


def require_mlflow() -> None:
    """Make sure that MLflow is installed, and set its quiet defaults (variables already set win).

    Raises:
        TrackingError: it is not installed. `import mlflow` proves nothing: the folder mlflow/ at the repository's root
            imports as an empty namespace package.
    """
    try:
        importlib.metadata.version("mlflow")
    except importlib.metadata.PackageNotFoundError:
        raise TrackingError("mlflow is not installed: pip install 'moso[mlflow]', or run make setup") from None
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def default_tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI where it is set, else sqlite in `root`/mlruns/mlflow.db (artifacts beside it)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlruns' / 'mlflow.db'}"


def sqlite_file(tracking_uri: str) -> Path | None:
    """The database file of an sqlite address, absolute; None for other addresses."""
    prefix = "sqlite:///"
    return Path(tracking_uri.removeprefix(prefix)).resolve() if tracking_uri.startswith(prefix) else None


def connect(tracking_uri: str) -> MlflowClient:
    """A client of the tracking server and registry at `tracking_uri`.

    Raises:
        TrackingError: mlflow is missing, or nothing answers there.
    """
    require_mlflow()
    with reported(f"MLflow at {redact(tracking_uri)} cannot be used"), _patience(tracking_uri):
        from mlflow import MlflowClient

        database = sqlite_file(tracking_uri)
        if database:
            database.parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        client.search_experiments(max_results=1)
    return client


def experiment_id(client: MlflowClient, tracking_uri: str, name: str = EXPERIMENT) -> str:
    """The experiment's id; it is made where it does not exist.

    With an sqlite file its artifacts lie beside the file (MLflow's default depends on the current folder); a server has
    its own place for them.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        database = sqlite_file(tracking_uri)
        place = (database.parent / "artifacts").as_uri() if database else None
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException:  # another process made it meanwhile
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        remedy = f"mlflow experiments restore -x {found.experiment_id}"
        raise TrackingError(f"the MLflow experiment {name!r} was deleted; restore it: {remedy}")
    return str(found.experiment_id)


@contextlib.contextmanager
def reported(what: str) -> Iterator[None]:
    """Turn a failure of MLflow, its database or the network into a TrackingError of one line."""
    try:
        yield
    except MosoError:
        raise
    except Exception as error:
        remedy = LOG_IN if _DENIED.search(str(error)) else ""
        raise TrackingError(f"{what}: {one_line(error)}{remedy}") from error


def one_line(error: Exception, limit: int = 300) -> str:
    """An exception's text in one line of at most `limit` characters, without secrets."""
    return redact(re.sub(r"\s+", " ", str(error)).strip()[:limit]) or type(error).__name__


@contextlib.contextmanager
def _patience(tracking_uri: str) -> Iterator[None]:
    wanted = PATIENCE if tracking_uri.startswith("http") else {}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
