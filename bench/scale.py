"""`make bench-scale`: how cost grows, as curves: seconds against batch and tokens, memory against length and samples.

    python -m bench.scale [--device auto] [--output build/bench-scale.json] [--curve NAME …] [--small]

Small networks of the paper's form (bench/points.py), less than five minutes on two cores. Beside each curve stands how
it grows; the chart (.svg) and the tables show it. docs/performance.md says what the keys of the JSON mean.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bench.fit import against_flat, against_linear, exponent
from bench.growth_chart import chart
from bench.machine import busy, describe, say
from bench.points import CURVES, Curve, Point, result_bytes
from bench.worker import MIB, Elsewhere, Measured, here
from moso.device import device_of
from moso.provenance import write_json

FORMAT, VERSION = "moso.bench-scale", 1
OUTPUT = Path("build/bench-scale.json")
TURNS = 15


@dataclass(frozen=True)
class Asked:
    """A curve.

    Attributes:
        title: what grows, and with what.
        label: of x.
        measure: "s" of a step, the best turn; or "MiB", the most that the process took.
        x: sizes.
        small: sizes that only show whether it runs.
        seconds: that turns may take, of all sizes together.
    """

    title: str
    label: str
    measure: Literal["s", "MiB"]
    x: tuple[int, ...]
    small: tuple[int, ...]
    seconds: float = 30.0


ASKED: dict[Curve, Asked] = {
    "vqvae_batch": Asked("Stage I, a training step", "clips", "s", (1, 2, 4, 8), (1, 2, 3), 40.0),
    "transformer_batch": Asked("Stage II, a training step", "clips", "s", (1, 2, 4, 8), (1, 2, 3), 40.0),
    "motion_frames": Asked(
        "TransformerM, forward and back, by frames", "motion tokens", "s", (256, 512, 1024, 2048), (32, 64, 128)
    ),
    "motion_grid": Asked(
        "TransformerM, forward and back, by grid", "motion tokens", "s", (128, 512, 1024, 2048), (16, 64, 128)
    ),
    "rollout_frames": Asked("A rollout's memory", "frames", "MiB", (28, 84, 252), (6, 24)),
    "samples": Asked("A prediction's memory", "samples", "MiB", (4, 16, 64), (4, 16)),
}


def measure(curves: Sequence[Curve], device: torch.device, small: bool) -> dict[str, Any]:
    """Everything, as the JSON has it."""
    begin, machine = time.time(), describe(device)
    occupied = busy(machine["load"])
    if occupied:
        say(f"WARNING: the machine is busy (load {machine['load']:.1f}): do not trust the figures")
    found = []
    for curve in curves:
        say(f"{curve} ...")
        found.append(measure_curve(curve, device, small))
    return {
        "format": FORMAT,
        "version": VERSION,
        "busy": occupied,
        "machine": machine,
        "curves": found,
        "seconds": time.time() - begin,
    }


def measure_curve(curve: Curve, device: torch.device, small: bool) -> dict[str, Any]:
    """A curve's figures and how they grow."""
    asked = ASKED[curve]
    points = [Point(curve, x, small) for x in (asked.small if small else asked.x)]
    y = memory(points, device) if asked.measure == "MiB" else seconds(points, device, 1.0 if small else asked.seconds)
    return {
        "curve": curve,
        "title": asked.title,
        "label": asked.label,
        "unit": asked.measure,
        "x": [point.x for point in points],
        "y": y,
        **growth([float(point.x) for point in points], y, asked.measure),
    }


def growth(x: Sequence[float], y: Sequence[float], unit: str) -> dict[str, float]:
    """The exponent, and the last figure beside a straight line through the others (s) or beside the first (MiB)."""
    beside = {"against_linear": against_linear(x, y)} if unit == "s" else {"against_flat": against_flat(y)}
    return {"exponent": exponent(x, y), **beside}


def seconds(points: Sequence[Point], device: torch.device, most: float) -> list[float]:
    """The best turn of each, by turns, in this process; so many seconds in all, at least one turn each."""
    subjects: list[Measured] = [here(point, "ours", device) for point in points]
    for subject in subjects:
        subject.turn()  # what is made once: primitives, workspaces, pages
    times: list[list[float]] = [[] for _ in points]
    begin = time.time()
    for _ in range(TURNS):
        before = time.time()
        for subject, its in zip(subjects, times, strict=True):
            its.append(subject.turn()["seconds"])
        if 2 * time.time() - before - begin > most:
            break
    return [min(its) for its in times]


def memory(points: Sequence[Point], device: torch.device) -> list[float]:
    """MiB that a call took beside what it returns, weights included, each size in a process of its own.

    Small sizes are called again and again until all have done as much: a heap scatters a little in its first minute,
    whatever it is used for.
    """
    largest = max(point.x for point in points)
    subjects = [Elsewhere(point, "ours", device) for point in points]
    try:
        for subject in subjects:
            subject.facts()
        for subject, point in zip(subjects, points, strict=True):
            for _ in range(largest // point.x):
                subject.turn()
        peaks = [float(subject.end()["peak_mib"]) for subject in subjects]
        return [peak - result_bytes(point) / MIB for peak, point in zip(peaks, points, strict=True)]
    finally:
        for subject in subjects:
            subject.kill()


def show(found: dict[str, Any]) -> str:
    """A table a curve, in Markdown."""
    machine = found["machine"]
    lines = [
        f"{machine['device']}, {machine['cores']} cores, torch {machine['torch']}, {machine['commit'] or 'no commit'}"
    ]
    for curve in found["curves"]:
        lines += [
            "",
            f"| {curve['title']}: {curve['label']} | {' | '.join(f'{x:,}' for x in curve['x'])} |",
            f"|---|{'---|' * len(curve['x'])}",
            f"| {curve['unit']} | {' | '.join(f'{y:.3g}' for y in curve['y'])} |",
            "",
            said(curve),
        ]
    if found["busy"]:
        lines += ["", "WARNING: the machine was busy when this began: do not trust the figures"]
    return "\n".join(lines)


def said(curve: dict[str, Any]) -> str:
    """How a curve grows, in words."""
    power = f"grows with the power {curve['exponent']:.2f}"
    if "against_linear" in curve:
        return f"{power}; the largest takes {curve['against_linear']:.2f} times a straight line through the others"
    return f"{power}; the largest takes {curve['against_flat']:.2f} times the smallest"


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON and the chart, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="How cost grows.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda [auto]")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"the JSON; the chart lies beside it [{OUTPUT}]")
    parser.add_argument("--curve", action="append", choices=CURVES, help="this one alone; may be repeated [all]")
    parser.add_argument("--small", action="store_true", help="seconds, to see whether it runs; no figures")
    given = parser.parse_args(arguments)
    found = measure(given.curve or CURVES, device_of(given.device), given.small)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.output, found)
    picture = given.output.with_suffix(".svg")
    picture.write_text(chart(found["curves"]))
    print(show(found))
    print(f"\n{found['seconds'] / 60:.1f} minutes; written: {given.output}, {picture}")


if __name__ == "__main__":
    main()
