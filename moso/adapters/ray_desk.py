"""What driver and workers tell each other beside Ray Train: the wish to stop, and an error that is not to be tried
again."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class Desk:
    """Lives beside the driver, so that it is lost with it alone."""

    def __init__(self) -> None:
        self._stopping = False
        self._refusal: str | None = None

    def stop(self) -> None:
        """Every worker's stop signal is to be raised."""
        self._stopping = True

    def stopping(self) -> bool:
        """Whether it is."""
        return self._stopping

    def refuse(self, reason: str) -> None:
        """A worker met an error that a user must do something about. The first one counts: others follow from it."""
        self._refusal = self._refusal or reason

    def refusal(self) -> str | None:
        """What the first such error said."""
        return self._refusal


def open_desk() -> Any:
    """A handle of a new desk on the driver's own machine."""
    here = NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()
