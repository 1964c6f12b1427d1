"""The frame that the steps of both stages share: hold the work folder, train, write the output folder, clean up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from moso.provenance import atomic_folder, write_provenance
from moso.step import Context
from moso.training.config import TrainingConfig
from moso.training.history import write_history
from moso.training.loop import train
from moso.training.objective import Objective
from moso.training.work import WorkFolder, run_identity, work_key

Stage = TypeVar("Stage", bound=Objective)


class StageConfig(Protocol):
    """What a training step's section has at least."""

    @property
    def training(self) -> TrainingConfig: ...

    @property
    def seed(self) -> int: ...


def train_stage(
    step: str,
    config: StageConfig,
    digests: Mapping[str, str],
    context: Context,
    output: Path,
    *,
    code: Path,
    format: str,
    version: int,
    build: Callable[[], Stage],
    save: Callable[[Stage, Path], Any],
) -> None:
    """Train what `build` gives and write the folder `output`: what `save` puts there, history.csv and provenance.json.

    Every worker of the context's world calls it; rank 0 alone holds the work folder and writes.

    Args:
        step: its name.
        config: its section.
        digests: name -> digest of each input.
        code: the step's own source file, its `__file__`.
        format, version: of the output folder.
        build: makes the objective, its module on the device, once the work folder is held.
        save: writes the trained module's files into a folder.

    Raises:
        StopRequested: the stop signal was raised; the same call goes on from the checkpoint.
    """
    identity = run_identity(step, config, digests, code=code)
    work, first = WorkFolder(context.work, work_key(identity)), context.world.rank == 0
    with work if first else contextlib.nullcontext():
        objective = build()
        history = train(
            objective,
            config.training,
            seed=config.seed,
            work=work,
            context=context,
            title=step,
            identity=identity,
            world=context.world,
        )
        if not first:
            return
        with atomic_folder(output) as folder:
            save(objective, folder)
            write_history(history, folder / "history.csv")
            write_provenance(folder, format=format, version=version, step=step, config=config, inputs=digests)
        work.discard()
