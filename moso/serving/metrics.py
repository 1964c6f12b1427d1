"""Figures of the service for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from moso.errors import MosoError
from moso.serving.champion import Champion
from moso.serving.errors import StoppedError, status_of
from moso.serving.gate import Gate

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
CLOSED = "499"  # nginx's status for a caller that went away before its answer


class Metrics:
    """Counts of one service, in a registry of its own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, champion: Champion, gate: Gate) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "moso_requests", "Requests for a task, by the status of the answer.", ("task", "status"), registry=registry
        )
        self._seconds = Histogram(
            "moso_request_seconds", "From arrival to answer.", ("task",), buckets=BUCKETS, registry=registry
        )
        self._clips = Counter("moso_clips", "Clips that a task was done for.", ("task",), registry=registry)
        Gauge("moso_requests_inside", "Worked on or waiting.", registry=registry).set_function(lambda: gate.inside)
        Gauge("moso_requests_places", "How many may be inside.", registry=registry).set(gate.places)
        watched = {
            "moso_model_changes": ("How often another version was put in place.", lambda: champion.changes),
            "moso_model_failures": ("Looks at the registry, or loads, that failed.", lambda: champion.failures),
            "moso_registry_answered_seconds": ("When the registry last answered (Unix).", lambda: champion.looked_at),
            "moso_ready": ("Whether a model is loaded.", lambda: champion.current is not None),
        }
        for name, (text, value) in watched.items():
            Gauge(name, text, registry=registry).set_function(value)
        self._model = Info("moso_model", "The model that serves.", registry=registry)
        self._champion = champion

    @contextmanager
    def request(self, task: str) -> Iterator[None]:
        """Count what happens inside as one request."""
        begun, status = time.monotonic(), "500"
        try:
            yield
            status = "200"
        except StoppedError:
            status = CLOSED
            raise
        except MosoError as error:
            status = str(status_of(error))
            raise
        finally:
            self._requests.labels(task, status).inc()
            self._seconds.labels(task).observe(time.monotonic() - begun)

    def done(self, task: str, clips: int) -> None:
        """Clips that a task was done for."""
        self._clips.labels(task).inc(clips)

    def text(self) -> bytes:
        """In Prometheus's format."""
        served = self._champion.current
        if served is not None:
            version = "" if served.version is None else str(served.version)
            facts = {"reference": served.reference, "version": version, "digest": served.model.digest}
            self._model.info(facts)
        return generate_latest(self._registry)
