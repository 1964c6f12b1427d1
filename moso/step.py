"""The contract of a step: `run(config, inputs, outputs, context) -> None`.

DVC's command line, the KFP component's body, retraining and the tests all call this one function. A step gets its own
section of the resolved config, named paths in, named paths out, and a context; it does not know where the repository
is, does not read params.yaml and imports no other step.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moso.tracking import NullTracker, Tracker
from moso.world import Solo, World


class StopSignal:
    """Raised once, read often: asks a step to write what it has and end."""

    def __init__(self) -> None:
        self._raised = False

    def set(self) -> None:
        """Ask for the stop."""
        self._raised = True

    def __bool__(self) -> bool:
        return self._raised

    def listen(self) -> None:
        """Raise this signal on SIGTERM (a preempted machine) and SIGINT; a second one ends the process at once."""

        def handle(number: int, frame: object) -> None:
            signal.signal(number, signal.SIG_DFL)
            self.set()

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)


@dataclass
class Context:
    """What a step may use beside its config and paths.

    Attributes:
        work: folder for resuming, kept outside the outputs (DVC deletes those before a rerun). A step keys its
            subfolder by the digest of config, inputs and code.
        tracker: where the run is recorded.
        stop: the stop signal; a step that sees it writes a checkpoint and raises StopRequested.
        device: "cpu", "cuda" …; "auto" takes a GPU where there is one.
        workers: processes that read and convert recordings. No part of any result.
        world: the workers that run this step together, each in its own process with the same arguments; one by default.
        on_checkpoint: called by the training loop, in its own thread, on every rank equally often and at the same
            steps, once for each checkpoint after it has become whole: (folder, steps done, newest value of each
            recorded figure), the folder on rank 0 alone and None elsewhere. There it is copied away or reported; it
            stays whole during the call. Of a checkpoint that is written in the background the call comes at the next
            one's step, at the end or at the stop. What it raises ends the training, which then goes on from that
            checkpoint.
        restore: the folder of one checkpoint of this run that a runtime brought from elsewhere; a training goes on from
            it where the work folder has none that is newer. Rank 0's counts.
        options: adapter settings of the run that are no part of the result's identity (tracking address, registry).
    """

    work: Path
    tracker: Tracker = field(default_factory=NullTracker)
    stop: StopSignal = field(default_factory=StopSignal)
    device: str = "auto"
    workers: int = 1
    world: World = field(default_factory=Solo)
    on_checkpoint: Callable[[Path | None, int, Mapping[str, float]], None] | None = None
    restore: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)


Paths = Mapping[str, Path]
Step = Callable[[Any, Paths, Paths, Context], None]
