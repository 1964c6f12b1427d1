"""What a process that trains on a CPU takes beside its tensors, on this machine: measured on one that trains `tiny`.

Python, torch, pandas and the kernels that torch loads or makes take 400 MiB on one machine and 500 on another, by its
processor and by how its system maps files.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import torch

from moso.allocator import keep_freed_memory
from moso.errors import MosoError
from moso.planning.machine import peak_resident
from moso.planning.stages import Experiment, Stage, make_objective
from moso.step import Context
from moso.training.loop import train
from moso.training.objective import Objective
from moso.training.work import WorkFolder

STEPS = 4


@functools.cache
def process_bytes(stage: Stage, recompute: bool) -> int:
    """Most memory, in bytes, that a small training took, a few MiB of tensors included; seconds for the first call.

    Args:
        stage: of the preset sim_push/tiny.
        recompute: of its activations, which imports torch's compiler.

    Raises:
        MosoError: it did not run to its end.
    """
    command = [sys.executable, "-m", "moso.planning.process", stage, str(int(recompute))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise MosoError(f"a small training that shows what a process takes ended with {done.returncode}: {last}")
    return int(done.stdout.split()[-1])


def some_steps(count: int) -> dict[str, int]:
    """Settings of a training of so many steps: a checkpoint in the middle, so that steps follow that have it beside
    them, and no validation."""
    return {"steps": count, "validate_every": 0, "checkpoint_every": count // 2}


def train_here(experiment: Experiment, stage: Stage, objective: Objective) -> None:
    """Train by the real loop in this process, checkpoints included, and keep nothing."""
    keep_freed_memory()  # as the steps of the pipeline do
    with tempfile.TemporaryDirectory() as work:
        context, folder = Context(work=Path(work)), WorkFolder(Path(work), "measured")
        training = experiment.training[stage]
        train(objective, training, seed=0, title=stage, identity={}, work=folder, context=context)


def main(stage: str, recompute: str) -> None:
    """Train on the CPU, and print the peak."""
    (named,) = [one for one in get_args(Stage) if one == stage]
    experiment = Experiment.of_preset("sim_push/tiny").with_training(
        named, **some_steps(STEPS), recompute=recompute == "1"
    )
    train_here(experiment, named, make_objective(experiment, named, torch.device("cpu")))
    print(peak_resident())


if __name__ == "__main__":
    main(*sys.argv[1:])
