"""What each worker does: makes the step's context out of Ray Train's, and calls the step."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch

from moso.errors import MosoError, StopRequested
from moso.step import Context, StopSignal
from moso.training.world import Distributed

LISTEN_S = 0.5


class Refused(RuntimeError):
    """A MosoError of a worker. The desk has its line; Ray is not to try again (ray_trainer.Watch)."""


@dataclass(frozen=True)
class Task:
    """What a worker is given.

    Attributes:
        body: "module:function".
        arguments: for it, plain data.
        desk: the desk's handle.
        gpu: whether a worker has a GPU of its own.
        folder: the driver's current folder; a worker moves there where it is, so that relative settings mean the same.
        environment: variables that the driver's user set and a machine of a cluster does not know.
    """

    body: str
    arguments: Mapping[str, Any]
    desk: Any
    gpu: bool
    folder: str
    environment: Mapping[str, str]


def work(task: Task) -> dict[str, str]:
    """Run the task's body; {"stopped": why} where it was asked to stop.

    Raises:
        Refused: the body raised a MosoError.
    """
    os.environ.update(task.environment)
    if Path(task.folder).is_dir():
        os.chdir(task.folder)
    module, _, function = task.body.partition(":")
    try:
        with _newest_checkpoint() as restore, _stop_signal(task.desk) as stop:
            context = Context(
                work=Path(),
                stop=stop,
                device=_device(task.gpu),
                world=Distributed(),
                on_checkpoint=report,
                restore=restore,
            )
            getattr(importlib.import_module(module), function)(task.arguments, context)
    except StopRequested as stop_requested:
        return {"stopped": str(stop_requested)}
    except MosoError as error:
        ray.get(task.desk.refuse.remote(str(error)))
        raise Refused(str(error)) from None
    return {}


def report(folder: Path | None, step: int, figures: Mapping[str, float]) -> None:
    """Context.on_checkpoint: every rank reports, equally often, and the one that has the checkpoint attaches it.

    Returns once it has been copied into the storage; the folder is not needed any longer.
    """
    checkpoint = None if folder is None else ray.train.Checkpoint.from_directory(folder)
    ray.train.report({"step": step, **figures}, checkpoint=checkpoint)


@contextmanager
def _newest_checkpoint() -> Iterator[Path | None]:
    """The newest checkpoint that was reported, on rank 0: from a worker that died, or from a driver that did."""
    found = ray.train.get_checkpoint()
    if found is None or ray.train.get_context().get_world_rank() != 0:
        yield None
        return
    with found.as_directory() as folder:
        yield Path(folder)


@contextmanager
def _stop_signal(desk: Any) -> Iterator[StopSignal]:
    """A stop signal that follows the desk's."""
    stop, over = StopSignal(), threading.Event()

    def listen() -> None:
        while not over.is_set() and not stop:
            if ray.get(desk.stopping.remote()):
                stop.set()
            time.sleep(LISTEN_S)

    threading.Thread(target=listen, name="stop-signal", daemon=True).start()
    try:
        yield stop
    finally:
        over.set()


def _device(gpu: bool) -> str:
    return str(ray.train.torch.get_device()) if gpu else "cpu"
