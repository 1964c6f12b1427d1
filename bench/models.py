"""`make bench`: what the two stages cost, beside the same code with its switches off and beside a plain reference.

    python -m bench.models [--device auto] [--output build/bench.json] [--row NAME …] [--small]

Six rows at the BAIR 64 and the KTH 128 preset; each variant in a process of its own, by turns; the best turn counts. On
two cores it takes less than 15 minutes and 12 GB. docs/performance.md says what the keys of the JSON mean.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from bench.machine import busy, describe
from bench.roofline import Peaks, limit, measure_peaks
from bench.subjects import Case, Row, Variant
from bench.worker import Elsewhere, Here
from moso.config import to_dict
from moso.device import device_of
from moso.provenance import write_json

FORMAT, VERSION = "moso.bench", 1
OUTPUT = Path("build/bench.json")
PRESETS = ("bair/default", "kth/128")
ROWS: tuple[Row, ...] = get_args(Row)
BATCHES: dict[str, dict[Row, int]] = {
    "cpu": {"vqvae_train": 1, "encode": 1, "decode": 1, "codebook": 4, "transformer_train": 1, "sampling": 1},
    "cuda": {"vqvae_train": 6, "encode": 8, "decode": 8, "codebook": 6, "transformer_train": 8, "sampling": 8},
}
"""Clips at once. The presets train with 24 and 6 (Stage I), 32 and 8 (Stage II); that takes hours on two cores."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        cases: rows.
        turns: of each variant, at most, beside the first, which is counted as well.
        row_seconds: no further turn begins where it would end later than so many seconds after a row's first.
        apart: each variant in its own process; without, memory is not to be trusted.
    """

    cases: tuple[Case, ...]
    turns: int
    row_seconds: float
    apart: bool


def full(device: torch.device, rows: Sequence[Row]) -> Plan:
    """The presets as they are, but for the batch."""
    batches = BATCHES[device.type]
    cases = tuple(Case(row, preset, batches[row]) for row in rows for preset in PRESETS)
    return Plan(cases, 7, 30.0, apart=True)


def small(rows: Sequence[Row]) -> Plan:
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
    return Plan(cases, 1, 30.0, apart=False)


def measure(plan: Plan, device: torch.device, small_peaks: bool = False) -> dict[str, Any]:
    """Everything, as the JSON has it."""
    machine = describe(device)
    occupied = busy(machine["load"])
    if occupied:
        _say(f"WARNING: the machine is busy (load {machine['load']:.1f}): do not trust the figures")
    begin = time.time()
    _say("peaks of matrix product and copy ...")
    peaks = measure_peaks(device, machine["bf16"], small_peaks)
    rows = []
    for case in plan.cases:
        _say(f"{case.row} {case.preset} ...")
        rows.append(measure_case(case, plan, device, peaks, machine["bf16"]))
    return {
        "format": FORMAT,
        "version": VERSION,
        "busy": occupied,
        "machine": machine,
        "peaks": to_dict(peaks),
        "rows": rows,
        "seconds": time.time() - begin,
    }


def measure_case(case: Case, plan: Plan, device: torch.device, peaks: Peaks, bf16: bool) -> dict[str, Any]:
    """A row at a preset, all its variants by turns."""
    variants: list[Variant] = ["ours", "off", "plain"]
    if case.row == "transformer_train" and device.type == "cpu" and bf16:
        variants.append("bf16")
    make = Elsewhere if plan.apart else Here
    subjects = {variant: make(case, variant, device) for variant in variants}
    try:
        found: dict[str, dict[str, Any]] = {name: subject.facts() for name, subject in subjects.items()}
        begin = time.time()
        times: dict[str, list[float]] = {name: [] for name in subjects}
        for name, subject in subjects.items():
            found[name] |= subject.count()
        round_seconds = time.time() - begin
        for _ in range(plan.turns):
            if time.time() - begin + round_seconds > plan.row_seconds:
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
    return {
        "row": case.row,
        "preset": case.preset,
        "batch": case.batch,
        "turns": len(times["ours"]),
        "unit": found["ours"]["unit"],
        "variants": {name: figures(one, times[name], peaks, name == "bf16") for name, one in found.items()},
        **ratios(found, times),
    }


def figures(found: dict[str, Any], times: Sequence[float], peaks: Peaks, bf16: bool) -> dict[str, Any]:
    """What the JSON has of a variant."""
    seconds = best(found, times)
    roof = peaks.bf16_flops_per_s if bf16 or found["switches"].startswith("bf16") else peaks.flops_per_s
    under = limit(found["flops"], found["bytes"], seconds, roof or peaks.flops_per_s, peaks.bytes_per_s)
    return {
        "seconds": seconds,
        "per_s": found["amount"] / seconds,
        "peak_mib": found["peak_mib"],
        "whole_process": found["whole_process"],
        "flops": found["flops"],
        "bytes": found["bytes"],
        "limit": under.by,
        "of_roof": under.share,
        "switches": found["switches"],
    }


def ratios(found: dict[str, dict[str, Any]], times: dict[str, list[float]]) -> dict[str, float | None]:
    """How many times as fast ours is, per piece of the row's unit, and what part of the others' memory it takes."""
    rate = {name: one["amount"] / best(one, times[name]) for name, one in found.items()}
    memory = {name: one["peak_mib"] for name, one in found.items()}
    return {
        "over_off": rate["ours"] / rate["off"],
        "over_plain": rate["ours"] / rate["plain"],
        "memory_over_off": memory["ours"] / memory["off"] if memory["off"] > 0 else None,
        "memory_over_plain": memory["ours"] / memory["plain"] if memory["plain"] > 0 else None,
    }


def best(found: dict[str, Any], times: Sequence[float]) -> float:
    """The best turn; the one under the counters where there was no time for another."""
    seconds: float = min(times, default=found["seconds"])
    return seconds


def show(found: dict[str, Any]) -> str:
    """The figures as a table in Markdown, as docs/performance.md and the README quote it."""
    machine, peaks = found["machine"], found["peaks"]
    lines = [
        f"{machine['device']}, {machine['cores']} cores, torch {machine['torch']}, {machine['commit'] or 'no commit'}; "
        f"{peaks['flops_per_s'] / 1e9:,.0f} GFLOP/s, {peaks['bytes_per_s'] / 1e9:,.1f} GB/s at best",
        "",
        "| row | preset | clips | s | plain, s | over plain | over off | MiB | plain, MiB | of plain's | limit |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        ours, plain = row["variants"]["ours"], row["variants"]["plain"]
        memory = row["memory_over_plain"]
        cells = [
            row["row"],
            row["preset"],
            str(row["batch"]),
            f"{ours['seconds']:.3g}",
            f"{plain['seconds']:.3g}",
            f"{row['over_plain']:.2f} x",
            f"{row['over_off']:.2f} x",
            f"{ours['peak_mib']:,.0f}",
            f"{plain['peak_mib']:,.0f}",
            "" if memory is None else f"{memory:.0%}",
            f"{ours['limit']} {ours['of_roof']:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for row in found["rows"]:
        if "bf16" in row["variants"]:
            times = row["variants"]["ours"]["seconds"] / row["variants"]["bf16"]["seconds"]
            lines += ["", f"{row['row']} {row['preset']}: bf16 {times:.2f} times as fast as float32"]
    if found["busy"]:
        lines += ["", "WARNING: the machine was busy when this began: do not trust the figures"]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.models", description="What the two stages cost.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda [auto]")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"the JSON [{OUTPUT}]")
    parser.add_argument("--row", action="append", choices=ROWS, help="this row alone; may be repeated [all]")
    parser.add_argument("--small", action="store_true", help="a few seconds, to see whether it runs; no figures")
    given = parser.parse_args(arguments)
    device, rows = device_of(given.device), given.row or ROWS
    plan = small(rows) if given.small else full(device, rows)
    found = measure(plan, device, given.small)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.output, found)
    print(show(found))
    print(f"\n{found['seconds'] / 60:.1f} minutes; written: {given.output}")


if __name__ == "__main__":
    main()
