"""`make bench`: what the two stages cost, beside the same code with its switches off and beside a plain reference.

    python -m bench.models [--device auto] [--output build/bench.json] [--row NAME …] [--compile] [--small]

Seven rows at the BAIR 64 and the KTH 128 preset; each variant in a process of its own, ours, off and plain by turns;
the best turn counts. On two cores it takes less than 15 minutes and 15 GB. docs/performance.md says what the keys of
the JSON mean.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.cases import ROWS, Case, Row, Variant
from bench.machine import busy, describe, say
from bench.roofline import Peaks, limit, measure_peaks
from bench.table import HEAD, first_line, last_lines, lines_of
from bench.worker import Elsewhere, Measured, here
from moso.config import to_dict
from moso.device import device_of
from moso.provenance import write_json

FORMAT, VERSION = "moso.bench", 1
OUTPUT = Path("build/bench.json")
PRESETS = ("bair/default", "kth/128")
BATCHES: dict[str, dict[Row, int]] = {
    "cpu": {
        "vqvae_train": 1, "encode": 1, "decode": 1, "codebook": 4, "transformer_train": 1, "sampling": 1,
        "many_samples": 3,
    },
    "cuda": {
        "vqvae_train": 6, "encode": 8, "decode": 8, "codebook": 6, "transformer_train": 8, "sampling": 8,
        "many_samples": 8,
    },
}  # fmt: skip
"""Clips at once. The presets train with 24 and 6 (Stage I), 32 and 8 (Stage II); that takes hours on two cores."""
TOGETHER: tuple[Variant, ...] = ("ours", "off", "plain")
SECONDS = 16.0
"""No further turn of a row's variants begins where it would end later than so many seconds after their first."""
TURNS = 5
"""Of each variant, at most, beside the one under the counters."""
TURNS_ON_CPU = {
    ("transformer_train", "bair/default"): 0, ("transformer_train", "kth/128"): 0, ("sampling", "bair/default"): 0,
    ("sampling", "kth/128"): 0, ("many_samples", "bair/default"): 0,
}  # fmt: skip
"""Where a call takes 10 to 80 seconds there. The one under the counters takes 1 to 27% longer, in every variant."""
ALONE: tuple[Row, ...] = ("transformer_train",)
"""Rows whose variants are measured one after the other: at once they take more memory than a small machine has."""
CPU_STEPS = {"kth/128": 8}
"""Steps of sampling in place of the preset's 16, for time."""
MINUTES = 14.5
"""A row of WHERE_TIME_IS_LEFT that would end later on a CPU is left out, and that is said."""
WHERE_TIME_IS_LEFT: dict[tuple[Row, str], float] = {
    ("many_samples", "bair/default"): 0.75, ("sampling", "kth/128"): 1.2, ("transformer_train", "kth/128"): 3.2,
}  # fmt: skip
"""Measured last on a CPU: how long they take, as a multiple of the seconds of the three variants at BAIR 64 (of many
samples: of the prediction of one)."""

Variants = dict[Variant, tuple[dict[str, Any], list[float]]]
"""Variant -> what its process says of it, and the seconds of its turns."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        cases: rows.
        apart: each variant in its own process; without, memory is not to be trusted.
        extras: (row, preset) -> further variants of ours.
        turns: (row, preset) -> turns of each variant, at most, beside the one under the counters; TURNS where it is not
            named.
        until: seconds from the start within which rows of WHERE_TIME_IS_LEFT are to end; None: however long they take.
    """

    cases: tuple[Case, ...]
    apart: bool
    extras: Mapping[tuple[Row, str], Sequence[Variant]]
    turns: Mapping[tuple[str, str], int]
    until: float | None = None


def full(device: torch.device, rows: Sequence[Row], bf16: bool, compiled: bool) -> Plan:
    """The presets as they are, but for the batch; on a CPU, for time, what is slowest at KTH 128 last or not at all."""
    batches, cpu = BATCHES[device.type], device.type == "cpu"
    cases = []
    for row in rows:
        for preset in PRESETS:
            steps = CPU_STEPS.get(preset) if cpu and row == "sampling" else None
            overrides = {"train_transformer": {"sampling": {"steps": steps}}} if steps else {}
            if not (cpu and row == "many_samples" and preset != PRESETS[0]):
                cases.append(Case(row, preset, batches[row], overrides))
    if not cpu:
        return Plan(tuple(cases), True, extras(PRESETS, bf16, compiled), {})
    order = list(WHERE_TIME_IS_LEFT)
    cases.sort(key=lambda case: order.index((case.row, case.preset)) if (case.row, case.preset) in order else -1)
    until = 60 * MINUTES if len(rows) > 1 else None  # a row that was asked for alone is measured
    return Plan(tuple(cases), True, extras(PRESETS[:1], bf16, compiled), TURNS_ON_CPU, until)


def extras(presets: Sequence[str], bf16: bool, compiled: bool) -> dict[tuple[Row, str], list[Variant]]:
    """Variants of ours beside the three."""
    found: dict[tuple[Row, str], list[Variant]] = {}
    for preset in presets:
        found["sampling", preset] = ["fewer"]
        found["vqvae_train", preset] = ["compiled"] if compiled else []
        found["transformer_train", preset] = [*found["vqvae_train", preset]]
        if bf16:
            found["transformer_train", preset].insert(0, "bf16")
    return found


def small(rows: Sequence[Row], bf16: bool, compiled: bool) -> Plan:
    """Whether it runs; its figures mean nothing."""
    vqvae = {
        "frames": 4, "height": 32, "width": 16, "channels": 16, "code_dimension": 8, "codebook_size": 24,
        "residual_channels": 8, "attention_heads": 2,
    }  # fmt: skip
    transformer = {"embedding": 8, "hidden": 16, "mlp": 16, "heads": 2, "scene_object_blocks": 1, "motion_blocks": 1}
    overrides = {
        "train_vqvae": {"model": vqvae},
        "train_transformer": {"model": transformer, "sampling": {"steps": 2}},
        "extract_tokens": {"given_frames": 2},
    }
    cases = tuple(Case(row, preset, 2, overrides) for row in rows for preset in PRESETS)
    return Plan(cases, False, extras(PRESETS, bf16, compiled), {(row, at): 1 for row in rows for at in PRESETS})


def measure(
    plan: Plan, device: torch.device, small_peaks: bool = False, on_row: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Everything, as the JSON has it; `on_row` is called with what there is after the peaks and after each row."""
    machine = describe(device)
    begin = time.time()
    found: dict[str, Any] = {"format": FORMAT, "version": VERSION, "busy": busy(machine["load"]), "machine": machine}
    if found["busy"]:
        say(f"WARNING: the machine is busy (load {machine['load']:.1f}): do not trust the figures")
    say("peaks of matrix product and copy ...")
    peaks = measure_peaks(device, machine["bf16"], small_peaks)
    found |= {"peaks": to_dict(peaks), "rows": [], "left_out": []}
    report = on_row or (lambda _: None)
    report(found)
    measured: dict[tuple[Row, str, int], Variants] = {}
    for case in plan.cases:
        until = plan.until if (case.row, case.preset) in WHERE_TIME_IS_LEFT else None
        if until is not None and time.time() - begin + expected_seconds(case, found["rows"]) > until:
            say(f"{case.row} {case.preset}: left out, it would not end in time")
            found["left_out"].append({"row": case.row, "preset": case.preset})
            continue
        say(f"{case.row} {case.preset} ...")
        found["rows"].append(measure_case(case, plan, device, peaks, measured))
        report(found)
    return {**found, "seconds": time.time() - begin}


def expected_seconds(case: Case, before: Sequence[Mapping[str, Any]]) -> float:
    """That a row of WHERE_TIME_IS_LEFT will take, by what was measured of it at the first preset; 0 of other rows."""
    name = "sampling" if case.row == "many_samples" else case.row
    like = [row for row in before if (row["row"], row["preset"]) == (name, PRESETS[0])]
    variants = [row["variants"][name]["seconds"] for row in like for name in TOGETHER]
    return WHERE_TIME_IS_LEFT.get((case.row, case.preset), 0.0) * sum(variants)


def measure_case(
    case: Case, plan: Plan, device: torch.device, peaks: Peaks, measured: dict[tuple[Row, str, int], Variants]
) -> dict[str, Any]:
    """A row at a preset: ours, off and plain by turns (or one by one, ALONE), then each further variant by itself.

    Many samples one by one, as plain and off make them, are as many predictions of one clip: those of `sampling`.

    Args:
        measured: (row, preset, batch) -> what was measured of other cases; this one's is added.
    """
    begin = time.time()
    if case.row == "many_samples":
        variants = measure_variants(case, ("ours",), plan, device)
        single = dataclasses.replace(case, row="sampling", batch=1)
        before = measured.get(("sampling", case.preset, 1))
        one_by_one = before or measure_variants(single, ("off", "plain"), plan, device)
        variants |= {name: one_by_one[name] for name in ("off", "plain")}
    else:
        together = [(one,) for one in TOGETHER] if case.row in ALONE else [TOGETHER]
        further = [(one,) for one in plan.extras.get((case.row, case.preset), ())]
        variants = {}
        for group in [*together, *further]:
            variants |= measure_variants(case, group, plan, device)
    measured[case.row, case.preset, case.batch] = variants
    found = {name: one for name, (one, _) in variants.items()}
    times = {name: its for name, (_, its) in variants.items()}
    rates = {name: one["amount"] / best(one, times[name]) for name, one in found.items()}
    memory = {name: one["peak_mib"] for name, one in found.items()}
    return {
        "row": case.row,
        "preset": case.preset,
        "batch": case.batch,
        "unit": found["ours"]["unit"],
        "variants": {
            name: {
                **figures(one, times[name], peaks),
                "over_off": rates[name] / rates["off"],
                "over_plain": rates[name] / rates["plain"],
                "memory_over_off": over(memory[name], memory["off"]),
                "memory_over_plain": over(memory[name], memory["plain"]),
            }
            for name, one in found.items()
        },
        "seconds": time.time() - begin,
    }


def measure_variants(case: Case, variants: Sequence[Variant], plan: Plan, device: torch.device) -> Variants:
    """The variants by turns."""
    subjects: dict[Variant, Elsewhere | Measured] = {}
    try:
        for variant in variants:
            subjects[variant] = Elsewhere(case, variant, device) if plan.apart else here(case, variant, device)
        found = {name: subject.facts() for name, subject in subjects.items()}
        begin = time.time()
        times: dict[Variant, list[float]] = {name: [] for name in subjects}
        for name, subject in subjects.items():
            found[name] |= subject.count()
        round_seconds = time.time() - begin
        for _ in range(plan.turns.get((case.row, case.preset), TURNS)):
            # where variants are not measured together, all are to have the same number of turns
            if case.row not in ALONE and time.time() - begin + round_seconds > SECONDS:
                break
            before = time.time()
            for name, subject in subjects.items():
                times[name].append(subject.turn()["seconds"])
            round_seconds = time.time() - before
        for name, subject in subjects.items():
            found[name] |= subject.end()
    finally:
        for subject in subjects.values():
            if isinstance(subject, Elsewhere):
                subject.kill()
    return {name: (found[name], times[name]) for name in found}


def figures(found: dict[str, Any], times: Sequence[float], peaks: Peaks) -> dict[str, Any]:
    """What the JSON has of a variant by itself."""
    seconds = best(found, times)
    roof = peaks.flops_per_s if found["precision"] == "float32" else peaks.bf16_flops_per_s or peaks.flops_per_s
    under = limit(found["flops"], found["bytes"], seconds, roof, peaks.bytes_per_s)
    kept = ("amount", "peak_mib", "whole_process", "flops", "bytes", "switches")
    return {
        "seconds": seconds,
        "turns": len(times),
        "per_s": found["amount"] / seconds,
        "limit": under.by,
        "of_roof": under.share,
        **{name: found[name] for name in kept},
        **({"compilation_seconds": found["compilation_seconds"]} if "compilation_seconds" in found else {}),
    }


def over(mine: float, other: float) -> float | None:
    """A ratio of memories; None where a process took no more than it had."""
    return mine / other if mine > 0 and other > 0 else None


def best(found: dict[str, Any], times: Sequence[float]) -> float:
    """The best turn; the one under the counters where there was no time for another, or, of what is compiled, the
    one that compiled."""
    first: float = found.get("compilation_seconds", found["seconds"])
    return min(times, default=first)


class Printer:
    """Prints the table in Markdown, as docs/performance.md and the README quote it, a row when it is there."""

    def __init__(self) -> None:
        self.rows = -1

    def __call__(self, found: dict[str, Any]) -> None:
        if self.rows < 0:
            print("\n".join([first_line(found), "", *HEAD]), flush=True)
            self.rows = 0
        for row in found["rows"][self.rows :]:
            print("\n".join(lines_of(row)), flush=True)
        self.rows = len(found["rows"])


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.models", description="What the two stages cost.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda [auto]")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"the JSON [{OUTPUT}]")
    parser.add_argument("--row", action="append", choices=ROWS, help="this row alone; may be repeated [all]")
    parser.add_argument("--compile", action="store_true", help="a variant by torch.compile on a CPU too: minutes more")
    parser.add_argument("--small", action="store_true", help="a few seconds, to see whether it runs; no figures")
    given = parser.parse_args(arguments)
    device, rows = device_of(given.device), given.row or ROWS
    cuda = device.type == "cuda"
    bf16 = not cuda and describe(device)["bf16"]  # on CUDA "ours" is bf16 already
    plan = (small if given.small else lambda *of: full(device, *of))(rows, bf16, given.compile or cuda)
    printer = Printer()
    found = measure(plan, device, given.small, printer)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.output, found)
    print("\n".join(["", *last_lines(found), f"written: {given.output}"]))


if __name__ == "__main__":
    main()
