"""When a training's checkpoints are written and handed on, the same at every worker.

Rank 0 writes; what came of it is told to all, so that no worker waits for one that has failed, and the sink is called
on every worker at the same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from moso.errors import CheckpointError
from moso.training.checkpoint import Checkpoint
from moso.training.world import World
from moso.training.writing import CheckpointWriter

Sink = Callable[[Path | None, int, Mapping[str, float]], None]


class Saving:
    """The checkpoints of one training, on one of its workers.

    Args:
        writer: rank 0's; None on the others.
        sink: `Context.on_checkpoint`.
        device: that the world's sums are made on.
    """

    def __init__(
        self, writer: CheckpointWriter | None, background: bool, sink: Sink | None, world: World, device: torch.device
    ) -> None:
        self.writer, self.background, self.sink, self.world, self.device = writer, background, sink, world, device
        self._pending: tuple[int, Mapping[str, float]] | None = None

    def save(self, checkpoint: Callable[[], Checkpoint], step: int, figures: Mapping[str, float], last: bool) -> None:
        """Hand on the checkpoint before this one, and write this one; every worker calls it at the same steps.

        Args:
            checkpoint: gives it; called on rank 0.
            step: steps done.
            figures: recorded so far, for the sink.
            last: no other follows, so this one is waited for and handed on at once.

        Raises:
            CheckpointError: it, or the one before it, could not be written.
        """
        self._hand_on()
        if self.writer:
            self.writer.write(checkpoint())
        self._pending = step, figures
        if last or not self.background:
            self._hand_on()

    def _hand_on(self) -> None:
        if self._pending is None:
            return
        error = None
        try:
            if self.writer:
                self.writer.wait()
        except CheckpointError as failed:
            error = failed
        (step, figures), self._pending = self._pending, None
        if self.world.size > 1:
            failures = self.world.all_reduce_(torch.tensor([float(error is not None)], device=self.device)).item()
            if failures and not error:
                raise CheckpointError(f"rank 0 could not write the checkpoint of step {step}; its own log says why")
        if error:
            raise error
        if self.sink:
            self.sink(self.writer.saved if self.writer else None, step, figures)
