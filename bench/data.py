"""`make bench-data`: how fast clips come, and what ingest and preprocess take as the data grows.

    python -m bench.data [--output build/bench-data.json] [--work FOLDER] [--small]

Two minutes on two cores, less than five where they are busy, and 2 GB of disk in a temporary folder, which is removed.
docs/performance.md says what the keys of the JSON mean.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.clips import ClipRates, ClipSet, measure_clips
from bench.machine import busy, processor, say
from bench.steps import STEPS, RawSet, StepFigures, measure_steps, memory_against_flat, time_against_linear
from moso.config import to_dict
from moso.provenance import git_commit, write_json
from moso.workers import available_cores

FORMAT = "moso.bench-data"
VERSION = 1
OUTPUT = Path("build/bench-data.json")
WANTED_OF_BARE = 0.45


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    clips: tuple[ClipSet, ...]
    raw: RawSet


FULL = Sizes(
    (
        ClipSet(pixels=64, episodes=192, episode_frames=64, batch=16, clips=4096, turns=12, filmed=16, decoded=48),
        ClipSet(pixels=256, episodes=16, episode_frames=64, batch=16, clips=512, turns=8, filmed=4, decoded=12),
    ),
    RawSet(episodes=96, episode_frames=32, pixels=96, cache_pixels=64, shard_megabytes=4),
)
SMALL = Sizes(
    (
        ClipSet(pixels=16, episodes=2, episode_frames=20, batch=2, clips=8, turns=2, filmed=1, decoded=1),
        ClipSet(pixels=32, episodes=2, episode_frames=20, batch=2, clips=8, turns=1, filmed=1, decoded=1),
    ),
    RawSet(episodes=2, episode_frames=4, pixels=16, cache_pixels=8, shard_megabytes=1, times=(1, 2, 4)),
)
"""Whether it runs; its figures mean nothing."""


def measure(sizes: Sizes, work: Path) -> dict[str, Any]:
    """Everything, as the JSON has it; `work` is an empty folder."""
    load = os.getloadavg()[0]
    occupied = busy(load)
    if occupied:
        say(f"WARNING: the machine is busy (load {load:.1f} on {available_cores()} cores): do not trust the figures")
    begin = time.time()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    clips: list[ClipRates] = []
    for number, wanted in enumerate(sizes.clips):
        say(f"clips of {wanted.pixels} pixels ...")
        folder = work / f"clips{number}"
        folder.mkdir()
        clips.append(measure_clips(wanted, folder))
    torch.set_num_threads(threads)
    say(f"ingest and preprocess at {', '.join(f'{times}x' for times in sizes.raw.times)} the data ...")
    steps = measure_steps(sizes.raw, work / "steps")
    return {
        "format": FORMAT,
        "version": VERSION,
        "busy": occupied,
        "machine": {
            "processor": processor(),
            "cores": available_cores(),
            "load": load,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "commit": git_commit(),
        },
        "clips": to_dict(clips),
        "steps": to_dict(steps),
        "growth": {
            step: {
                "time_against_linear": time_against_linear(steps, step),
                "memory_against_flat": memory_against_flat(steps, step),
            }
            for step in STEPS
        },
        "sizes": to_dict(sizes),
        "seconds": time.time() - begin,
    }


def show(found: dict[str, Any]) -> str:
    """The figures as text."""
    lines = ["", "clips of 16 frames a second, one process      moso      bare   of bare       mp4  over mp4"]
    for row in found["clips"]:
        rates = ClipRates(**row)
        lines.append(
            f"{rates.pixels:4} pixels, batches of {rates.batch:2} {'':18} {rates.moso:9,.0f} {rates.bare:9,.0f} "
            f"{rates.of_bare:9.0%} {rates.mp4:9,.1f} {rates.over_mp4:8,.0f}x"
        )
    lines += ["", "step          data    frames   seconds  frames/s   peak MiB   of it private"]
    for row in found["steps"]:
        one = StepFigures(**row)
        lines.append(
            f"{one.step:12} {one.times:4}x {one.frames:9,} {one.seconds:9.1f} {one.frames_per_s:9,.0f} "
            f"{one.peak_mib:10,.0f} {one.peak_private_mib:15,.0f}"
        )
    for step, growth in found["growth"].items():
        lines.append(
            f"{step}: the largest took {growth['time_against_linear']:.2f} times the seconds of a straight line "
            f"through the others, and {growth['memory_against_flat']:.2f} times the smallest's private memory"
        )
    short = [row["pixels"] for row in found["clips"] if row["of_bare"] < WANTED_OF_BARE]
    wanted = f"{WANTED_OF_BARE:.0%} of a bare memory map"
    lines += [
        "",
        f"BELOW {wanted} at {', '.join(map(str, short))} pixels" if short else f"at least {wanted} at all sizes",
    ]
    if found["busy"]:
        lines.append("WARNING: the machine was busy when this began: do not trust the figures")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.data", description="Speed of the data's way, from raw to clip."
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"the JSON [{OUTPUT}]")
    parser.add_argument("--work", type=Path, help="where a temporary folder is made [the system's]")
    parser.add_argument("--small", action="store_true", help="a few seconds, to see whether it runs; no figures")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="moso-bench-", dir=given.work) as work:
        found = measure(SMALL if given.small else FULL, Path(work))
    given.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.output, found)
    print(show(found))
    print(f"\nwritten: {given.output}")


if __name__ == "__main__":
    main()
