"""What a process that trains on a CPU takes beside its tensors, on this machine: measured on one that trains `tiny`.

Python, torch, pandas and the kernels that torch loads or makes take 400 MiB on one machine and 500 on another, by its
processor and by how its system maps files.
"""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import torch

from moso.allocator import keep_freed_memory
from moso.errors import MosoError
from moso.planning.stages import Experiment, Stage, make_objective
from moso.step import Context
from moso.training.loop import train
from moso.training.work import WorkFolder

STATUS = Path("/proc/self/status")
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


def peak_resident() -> int:
    """Most bytes of memory that this process has had."""
    if STATUS.exists():
        fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(stage: str, recompute: str) -> None:
    """Train on the CPU, and print the peak."""
    (named,) = [one for one in get_args(Stage) if one == stage]
    keep_freed_memory()  # as the steps of the pipeline do
    changes = {"steps": STEPS, "validate_every": 0, "checkpoint_every": STEPS // 2, "recompute": recompute == "1"}
    experiment = Experiment.of_preset("sim_push/tiny").with_training(named, **changes)
    objective = make_objective(experiment, named, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as work:
        context, folder = Context(work=Path(work)), WorkFolder(Path(work), "measured")
        training = experiment.training[named]
        train(objective, training, seed=0, title=stage, identity={}, work=folder, context=context)
    print(peak_resident())


if __name__ == "__main__":
    main(*sys.argv[1:])
