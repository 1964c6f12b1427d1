"""`make bench-plan`: what `moso plan` says beside what a training then takes, in memory and in time.

    python -m bench.planning [--case sim_push/default:vqvae …] [--output build/bench-plan.json]

Each case is the first steps of the real loop, its checkpoint included, in a process of its own on random data. The
table is that of docs/plan.md. Ten minutes on two cores, 8 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.machine import describe, say
from bench.worker import MIB
from moso.allocator import keep_freed_memory
from moso.planning.plan import measure_step, plan_stage
from moso.planning.stages import Experiment, Stage, make_objective
from moso.provenance import write_json
from moso.step import Context
from moso.training.loop import train
from moso.training.work import WorkFolder
from moso.training.world import World

FORMAT, VERSION = "moso.bench-plan", 1
OUTPUT = Path("build/bench-plan.json")
CPU = torch.device("cpu")
WARM = 2
"""Steps at the start whose time does not count: the first ones make what the optimizer and the libraries keep."""


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        switches: settings of the loop laid over the preset's.
        steps: of the loop.
        timed: its time is compared, too.
    """

    preset: str
    stage: Stage
    switches: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 12
    timed: bool = True

    def experiment(self) -> Experiment:
        """Its settings: no validation, one checkpoint behind the last step."""
        changes = {**self.switches, "steps": self.steps, "validate_every": 0, "checkpoint_every": self.steps}
        return Experiment.of_preset(self.preset).with_training(self.stage, **changes)

    @property
    def name(self) -> str:
        """As --case takes it, the switches behind it."""
        return f"{self.preset}:{self.stage}" + "".join(f" {key}={value}" for key, value in self.switches.items())


CASES = (
    Case("sim_push/tiny", "transformer"),
    Case("sim_push/default", "vqvae"),
    Case("sim_push/default", "transformer"),
    Case("sim_push/default", "vqvae", {"batch": 16}, 6),
    Case("sim_push/default", "transformer", {"batch": 16}, 6),
    Case("sim_push/default", "vqvae", {"accumulation": 2}),
    Case("sim_push/default", "vqvae", {"recompute": True}),
    Case("bair/default", "vqvae", {"batch": 1}, 4),
    Case("bair/default", "transformer", {"batch": 1}, 4),
    Case("kth/128", "vqvae", {"batch": 1}, 4),
)


def run_here(case: Case) -> dict[str, float]:
    """Train in this process: the most memory that it took, bytes, and the seconds of a step (median)."""
    keep_freed_memory()  # as the steps of the pipeline do
    experiment = case.experiment()
    objective = make_objective(experiment, case.stage, CPU)
    ends, after = [], objective.after_step

    def timed(step: int, world: World) -> dict[str, float]:
        figures = after(step, world)
        ends.append(time.perf_counter())
        return figures

    objective.after_step = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as work:
        train(
            objective,
            experiment.training[case.stage],
            seed=0,
            title=case.stage,
            identity={},
            work=WorkFolder(Path(work), "measured"),
            context=Context(work=Path(work)),
        )
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    steps = [end - start for start, end in zip(ends[WARM - 1 :], ends[WARM:], strict=False)]
    return {"bytes": 1024 * int(peak.split()[1]), "seconds": statistics.median(steps)}


def measured(case: Case) -> dict[str, float]:
    """`run_here` in a process of its own."""
    index = ["--here", json.dumps([case.preset, case.stage, dict(case.switches), case.steps])]
    done = subprocess.run([sys.executable, "-m", "bench.planning", *index], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{case.name}: the training ended with {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(case: Case) -> dict[str, Any]:
    """A row: the plan's memory and time (estimated, and by two tried steps), and the training's."""
    experiment = case.experiment()
    plan = plan_stage(experiment, case.stage, CPU)
    row = {
        "case": case.name,
        "batch": plan.batch,
        "planned_bytes": plan.needed,
        "estimated_s": plan.step_s,
        "tried_s": measure_step(experiment, case.stage, CPU, 2) if case.timed else None,
    }
    found = measured(case)
    return {**row, "measured_bytes": found["bytes"], "measured_s": found["seconds"]}


def line(row: Mapping[str, Any]) -> str:
    """A row in Markdown."""
    memory, seconds = row["measured_bytes"], row["measured_s"]
    tried = row["tried_s"]
    return (
        f"| {row['case']} | {row['batch']} | {row['planned_bytes'] / MIB:,.0f} | {memory / MIB:,.0f} "
        f"| {row['planned_bytes'] / memory - 1:+.1%} | {row['estimated_s']:.3g} "
        f"| {'' if tried is None else f'{tried:.3g}'} | {seconds:.3g} | {row['estimated_s'] / seconds:.2f} x "
        f"| {'' if tried is None else f'{tried / seconds:.2f} x'} |"
    )


HEAD = (
    "| training | batch | planned MiB | measured MiB | | estimated s | tried s | measured s | estimated | tried |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.planning")
    parser.add_argument("--case", action="append", help="preset:stage, every case of it; all where none is named")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.here:
        preset, stage, switches, steps = json.loads(parsed.here)
        print(json.dumps(run_here(Case(preset, stage, switches, steps))))
        return
    cases = [case for case in CASES if parsed.case is None or f"{case.preset}:{case.stage}" in parsed.case]
    if not cases:
        parser.error(f"--case: the cases are {', '.join(sorted({f'{case.preset}:{case.stage}' for case in CASES}))}")
    for text in HEAD:
        print(text)
    rows = []
    for case in cases:
        say(case.name)
        rows.append(compare(case))
        print(line(rows[-1]), flush=True)
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(parsed.output, {"format": FORMAT, "format_version": VERSION, "machine": describe(CPU), "rows": rows})


if __name__ == "__main__":
    main()
