"""`make bench-plan`: what `moso plan` says beside what a training then takes, in memory and in time.

    python -m bench.planning [--case sim_push/default:vqvae …] [--output build/bench-plan.json]

Each case is the first steps of the real loop, checkpoints included, in a process of its own on random data.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.machine import busy, describe, say
from bench.worker import MIB
from moso.planning.machine import peak_resident
from moso.planning.plan import measure_step, plan_stage
from moso.planning.process import some_steps, train_here
from moso.planning.stages import Experiment, Stage, make_objective
from moso.provenance import write_json
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
    """

    preset: str
    stage: Stage
    switches: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 12

    def experiment(self) -> Experiment:
        """Its settings."""
        changes = {**self.switches, **some_steps(self.steps)}
        return Experiment.of_preset(self.preset).with_training(self.stage, **changes)

    @property
    def group(self) -> str:
        """As --case takes it."""
        return f"{self.preset}:{self.stage}"

    @property
    def name(self) -> str:
        """That, the switches behind it."""
        return self.group + "".join(f" {key}={value}" for key, value in self.switches.items())


CASES = (
    Case("sim_push/tiny", "transformer"),
    Case("sim_push/default", "vqvae"),
    Case("sim_push/default", "transformer"),
    Case("sim_push/default", "vqvae", {"batch": 16}, 6),
    Case("sim_push/default", "transformer", {"batch": 16}, 6),
    Case("sim_push/default", "vqvae", {"accumulation": 2}),
    Case("sim_push/default", "vqvae", {"recompute": True}),
    Case("bair/default", "vqvae", {"batch": 1}, 6),
    Case("bair/default", "transformer", {"batch": 1}, 6),
    Case("kth/128", "vqvae", {"batch": 1}, 6),
)


def run_here(case: Case) -> dict[str, float]:
    """Train in this process: the most memory that it took, bytes, and the seconds of a step (median)."""
    experiment = case.experiment()
    objective = make_objective(experiment, case.stage, CPU)
    ends, after = [], objective.after_step

    def timed(step: int, world: World) -> dict[str, float]:
        figures = after(step, world)
        ends.append(time.perf_counter())
        return figures

    objective.after_step = timed  # type: ignore[method-assign]
    train_here(experiment, case.stage, objective)
    seconds = statistics.median(end - start for start, end in itertools.pairwise(ends[WARM - 1 :]))
    return {"bytes": peak_resident(), "seconds": seconds}


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
        "tried_s": measure_step(experiment, case.stage, CPU, 2),
    }
    found = measured(case)
    return {**row, "measured_bytes": found["bytes"], "measured_s": found["seconds"]}


def line(row: Mapping[str, Any]) -> str:
    """A row in Markdown."""
    memory, seconds = row["measured_bytes"], row["measured_s"]
    return (
        f"| {row['case']} | {row['batch']} | {row['planned_bytes'] / MIB:,.0f} | {memory / MIB:,.0f} "
        f"| {row['planned_bytes'] / memory - 1:+.1%} | {row['estimated_s']:.3g} | {row['tried_s']:.3g} "
        f"| {seconds:.3g} | {row['estimated_s'] / seconds:.2f} x | {row['tried_s'] / seconds:.2f} x |"
    )


HEAD = (
    "| training | batch | planned MiB | measured MiB | | estimated s | tried s | measured s | estimated | tried |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.planning")
    groups = sorted({case.group for case in CASES})
    parser.add_argument("--case", action="append", choices=groups, help="every case of it; all where none is named")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.here:
        preset, stage, switches, steps = json.loads(parsed.here)
        print(json.dumps(run_here(Case(preset, stage, switches, steps))))
        return
    cases = [case for case in CASES if case.group in (parsed.case or groups)]
    machine = describe(CPU)  # first: its load is that of others
    occupied = busy(machine["load"])
    if occupied:
        say(f"WARNING: the machine is busy (load {machine['load']:.1f}): do not trust the figures")
    for text in HEAD:
        print(text)
    rows: list[dict[str, Any]] = []
    for case in cases:
        say(case.name)
        rows.append(compare(case))
        print(line(rows[-1]), flush=True)
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    found = {"format": FORMAT, "version": VERSION, "busy": occupied, "machine": machine, "rows": rows}
    write_json(parsed.output, found)


if __name__ == "__main__":
    main()
