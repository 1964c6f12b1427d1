"""A task done for a caller: by the current model, within the limits, counted. HTTP and the demo page share it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from moso.serving.champion import Champion, Served
from moso.serving.gate import Gate, Place, Stop
from moso.serving.limits import Limits
from moso.serving.metrics import Metrics
from moso.tasks.request import answer

R = TypeVar("R")


class Service:
    """What is behind every address.

    Args:
        champion: the model that serves.
        limits: of a request.
    """

    def __init__(self, champion: Champion, limits: Limits | None = None) -> None:
        self.champion, self.limits = champion, limits or Limits()
        self.gate = Gate(self.limits.workers, self.limits.waiting, self.limits.seconds)
        self.metrics = Metrics(champion, self.gate)

    async def run(
        self,
        place: Place,
        work: Callable[[Served, Stop], R],
        gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> R:
        """What `work` makes of the model that is current when its turn comes; that model stays its own to the end.

        Raises:
            BusyError: no model is loaded yet.
            LateError: it took too long.
            StoppedError: the caller went away.
        """
        return await self.gate.run(place, lambda stop: work(self.champion.get(), stop), gone)

    def perform(self, served: Served, task: str, frames: np.ndarray, wanted: Mapping[str, Any], stop: Stop) -> Any:
        """What the task makes of the frames; see `moso.tasks.request.answer`.

        Args:
            served: does it.
            task: its name.
            frames: what it works on.
            wanted: the task's parameters.
            stop: ends it between two batches.

        Raises:
            InputError: what does not fit.
            TooLargeError: more than a request may ask for.
        """
        clips, model = len(frames), served.model
        if task == "decode":
            clips = len(wanted.get("tokens", ())) // model.vqvae.grids.tokens
        if task == "recombine":
            clips = max([clips, *(len(wanted.get(name, ())) for name in model.components)])
        self.limits.check_work(model, task, clips, frames.shape[1] if frames.ndim > 1 else 0, wanted)
        result = answer(model, frames, {**wanted, "task": task}, on_progress=stop)
        self.metrics.done(task, clips)
        return result

    def close(self) -> None:
        """Begin no more work, and look at the alias no more."""
        self.champion.close()
        self.gate.close()
