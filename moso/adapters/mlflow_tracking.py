"""Runs recorded in MLflow: parameters, curves, figures, files, and tags that lead back to code and data.

Points of curves are gathered and written in batches by a background thread: a training does not wait for a database or
a server. Where the server goes away during a run, the training goes on; what could not be written is said.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moso.adapters.mlflow_client import (
    EXPERIMENT,
    TrackingError,
    connect,
    default_tracking_uri,
    experiment_id,
    one_line,
    reported,
)
from moso.adapters.redact import redact
from moso.config import to_dict
from moso.provenance import code_digest, git_commit

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

__all__ = ["MlflowTracker", "default_tracking_uri", "flatten"]

FLUSH_PERIOD_S = 2.0
# mlflow.utils.validation in 3.17: longest key, longest values, entries a request.
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6000, 8000
METRICS_A_BATCH, PARAMS_A_BATCH = 1000, 100


def flatten(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested parameters as MLflow takes them: dotted keys, text values within its limits, secrets masked.

    Lists become JSON. A value over the limit keeps its beginning and says how long it was.
    """
    flat: dict[str, str] = {}
    for name, value in _leaves(to_dict(values)):
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        flat[key(name)] = shortened(redact(text, name), PARAM_LENGTH)
    return flat


def key(name: str) -> str:
    """`name` with what MLflow refuses in keys replaced by '_', at most 250 characters."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:KEY_LENGTH]


def shortened(text: str, limit: int) -> str:
    """`text` within `limit` characters, saying how long it was where it was cut."""
    note = f" … ({len(text)} characters)"
    return text if len(text) <= limit else text[: limit - len(note)] + note


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


class MlflowTracker:
    """A `moso.tracking.Tracker` that writes to MLflow.

    Args:
        tracking_uri: address of the database or server; None takes `default_tracking_uri` of the current folder.
        experiment: the experiment that runs are filed under.
        flush_period_s: how long points of curves are gathered before a batch is written, in seconds.
    """

    def __init__(
        self, tracking_uri: str | None = None, experiment: str = EXPERIMENT, flush_period_s: float = FLUSH_PERIOD_S
    ) -> None:
        self.tracking_uri = tracking_uri or default_tracking_uri(Path.cwd())
        self.experiment, self.flush_period_s = experiment, flush_period_s
        self.run_id = ""
        self._last_step = 0
        self._client: MlflowClient | None = None
        self._points: list[Metric] = []
        self._lock = threading.Lock()  # guards _points
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._complained = False

    def start(self, name: str, *, run_id: str | None = None, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run, or go on in `run_id`.

        Git commit and code digest are added to the tags. A `run_id` that this store does not know (its database was
        removed, or training moved to another server) begins a new run, tagged with the old id, and says so.

        Raises:
            TrackingError: the store cannot be reached, or a run is already going on.
        """
        if self.run_id:
            raise TrackingError(f"run {self.run_id} is still going on; finish it first")
        client = self._client = self._client or connect(self.tracking_uri)
        tags = {"moso.git_commit": git_commit(), "moso.code_digest": code_digest(), **tags}
        with reported(f"MLflow at {redact(self.tracking_uri)} refused the run {name!r}"):
            run = self._known(client, run_id) if run_id else None
            if run_id and run is None:
                print(
                    f"tracking: run {run_id} is not in {redact(self.tracking_uri)}; a new run begins", file=sys.stderr
                )
                tags = {**tags, "moso.resumed_from": run_id}
            if run is None:
                run = client.create_run(experiment_id(client, self.tracking_uri, self.experiment), run_name=name)
            else:
                client.update_run(run.info.run_id, status="RUNNING")
            self._describe(client, run, params, tags)
            self._last_step = _last_step(client, run)
        self.run_id, self._ending, self._complained = run.info.run_id, False, False
        self._thread = threading.Thread(target=self._write_on, name="mlflow-tracker", daemon=True)
        self._thread.start()
        return self.run_id

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves at `step`; kept in memory and written by the background thread."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(key(name), float(value), now, step) for name, value in values.items()]
        self._last_step = max(self._last_step, step)
        with self._lock:
            self._points += points

    def summary(self, values: Mapping[str, float]) -> None:
        """Final figures of the run, at its last step: a curve of the same name must not jump back to step 0."""
        self.metrics(values, self._last_step)

    def artifact(self, path: Path) -> None:
        """Keep a file, or a folder under its name, with the run.

        Raises:
            TrackingError: the store refuses it.
        """
        client = self._running()
        with reported(f"MLflow could not keep {path}"):
            if path.is_dir():
                client.log_artifacts(self.run_id, str(path), path.name)
            else:
                client.log_artifact(self.run_id, str(path))

    def finish(self, status: str = "FINISHED") -> None:
        """Write what is left and end the run: FINISHED, FAILED or KILLED. Does nothing where no run is going on."""
        if not self.run_id:
            return
        client = self._running()
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._wake.clear()
        self._flush(client)
        if self._points:
            _say(f"{len(self._points)} points of curves could not be written and are lost")
            self._points = []
        try:
            client.set_terminated(self.run_id, status)
        except Exception as error:
            self._complain(error)
        self.run_id = ""

    def _known(self, client: MlflowClient, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _describe(self, client: MlflowClient, run: Any, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        run_id = run.info.run_id
        # MLflow refuses to change a parameter: those of the first start stand.
        new = [Param(k, v) for k, v in flatten(params).items() if k not in run.data.params]
        for some in _batches(new, PARAMS_A_BATCH):
            client.log_batch(run_id, params=some)
        marks = [RunTag(key(k), shortened(redact(str(v), k), TAG_LENGTH)) for k, v in tags.items()]
        for some in _batches(marks, PARAMS_A_BATCH):
            client.log_batch(run_id, tags=some)

    def _write_on(self) -> None:
        client = self._running()
        while not self._ending:
            self._wake.wait(self.flush_period_s)
            self._flush(client)

    def _flush(self, client: MlflowClient) -> None:
        while True:
            with self._lock:
                batch = self._points[:METRICS_A_BATCH]
            if not batch:
                return
            try:
                client.log_batch(self.run_id, metrics=batch)
            except Exception as error:  # a training does not die of its record; the points wait for the next flush
                self._complain(error)
                return
            self._complained = False
            with self._lock:
                del self._points[: len(batch)]

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            _say(f"MLflow at {redact(self.tracking_uri)} does not answer: {one_line(error)}")
        self._complained = True

    def _running(self) -> MlflowClient:
        if self._client is None or not self.run_id:
            raise TrackingError("no run is going on; call start first")
        return self._client


def _last_step(client: MlflowClient, run: Any) -> int:
    """The last step of a run's curves, 0 for a new one: a run that goes on at its end must not write a summary at 0."""
    # run.data.metrics has the curves' latest values without their steps.
    curves = (client.get_metric_history(run.info.run_id, name) for name in run.data.metrics)
    return max((point.step for curve in curves for point in curve), default=0)


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _say(text: str) -> None:
    print(f"tracking: {text}", file=sys.stderr, flush=True)
