"""A step on several workers, each a process of torch.distributed with gloo: what tests start, and what is started."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moso.config import build
from moso.errors import StopRequested
from moso.step import Context, StopSignal

ROOT = Path(__file__).parents[1]
STOPPED, KILLED = "stopped: ", -int(signal.SIGKILL)


@dataclass(frozen=True)
class Run:
    """One call of a step's `run`; paths as text.

    Attributes:
        work: folder of the work folders; worker r has <work>/<r>.
        stop: rank -> how often its stop signal is asked before it is raised.
        kill: rank -> how often it is asked before SIGKILL comes.
        constants: name -> value, of the step's module; set in started processes alone.
    """

    step: str
    section: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    work: str
    stop: dict[str, int] = field(default_factory=dict)
    kill: dict[str, int] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)


class _Asked(StopSignal):
    """A stop signal that counts how often it is asked."""

    def __init__(self, stop: int | None, kill: int | None) -> None:
        super().__init__()
        self._stop, self._kill, self._asked = stop, kill, 0

    def __bool__(self) -> bool:
        self._asked += 1
        if self._kill is not None and self._asked > self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._stop is not None and self._asked > self._stop


def call(run: Run, rank: int = 0, **world: Any) -> None:
    """The run in this process, as worker `rank` of `world`, by default the only one."""
    step = importlib.import_module(f"components.{run.step}.step")
    signalled = _Asked(run.stop.get(str(rank)), run.kill.get(str(rank)))
    context = Context(Path(run.work) / str(rank), device="cpu", stop=signalled, **world)
    paths = ({name: Path(path) for name, path in named.items()} for named in (run.inputs, run.outputs))
    step.run(build(step.Config, run.section), *paths, context)


def start(runs: Sequence[Run], size: int, folder: Path, timeout_s: float = 600.0) -> list[tuple[int, str]]:
    """The runs, one after the other, on `size` workers; of each worker its exit code and its stderr.

    A run that is stopped says STOPPED on stderr, and the next one follows. Workers that wait for a killed one are told
    by gloo, and end with an error.
    """
    names = (folder / f"workers_{number}" for number in itertools.count())
    meeting = next(name for name in names if not name.exists())
    meeting.mkdir()
    (meeting / "runs.json").write_text(json.dumps([asdict(run) for run in runs]))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(meeting), str(rank), str(size)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        errors = [process.communicate(timeout=timeout_s)[1] for process in processes]
        return [(process.returncode, text) for process, text in zip(processes, errors, strict=True)]
    finally:
        for process in processes:
            process.kill()


def _worker(meeting: Path, rank: int, size: int) -> None:
    import torch
    import torch.distributed as distributed

    from moso.training.world import Distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}/meet", rank=rank, world_size=size)
    try:
        for record in json.loads((meeting / "runs.json").read_text()):
            run = Run(**record)
            for name, value in run.constants.items():
                setattr(importlib.import_module(f"components.{run.step}.step"), name, value)
            try:
                call(run, rank, world=Distributed())
            except StopRequested as stop:
                print(f"{STOPPED}{stop}", file=sys.stderr, flush=True)
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    _worker(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
