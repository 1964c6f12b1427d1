"""What a run records, as an interface: parameters, curves, metrics, files. The MLflow side is an adapter.

Steps and the training loop know only `Tracker`; without an adapter `NullTracker` records nothing and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Where a step's run is recorded."""

    def start(self, name: str, *, run_id: str | None = None, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run, or go on in the one named `run_id`; returns the run's id."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves at `step`; writing a step twice (after a resume) is allowed."""

    def summary(self, values: Mapping[str, float]) -> None:
        """Final figures of the run."""

    def artifact(self, path: Path) -> None:
        """Keep a file with the run."""

    def finish(self, status: str = "FINISHED") -> None:
        """End the run: FINISHED, FAILED or KILLED."""


class NullTracker:
    """Records nothing; for tests, for machines without a tracking server, and for ranks other than 0."""

    def start(self, name: str, *, run_id: str | None = None, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        return run_id or ""

    def metrics(self, values: Mapping[str, float], step: int) -> None: ...

    def summary(self, values: Mapping[str, float]) -> None: ...

    def artifact(self, path: Path) -> None: ...

    def finish(self, status: str = "FINISHED") -> None: ...
