"""ingest and preprocess on 1, 4 and 16 times the data: frames a second, and the most memory that they take.

The steps' own `run`, as DVC and Kubeflow call it, each in a process of its own with as many workers as there are cores:

    python -m bench.steps ingest <folder>       (reads <folder>/raw, writes <folder>/episodes)
    python -m bench.steps preprocess <folder>   (writes <folder>/frames)

prints {"seconds", "frames"}; starting Python is not counted. Memory is that of the process and its workers together,
looked at every 20 milliseconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from bench.pictures import video
from moso.workers import available_cores

STEPS = ("ingest", "preprocess")
TIMES = (1, 4, 16)
SAMPLED_S = 0.02
MIB = 2**20


@dataclass(frozen=True)
class RawSet:
    """Recordings in the format of sim_push.

    Attributes:
        episodes: at 1x.
        episode_frames: of each.
        pixels: height and width of a raw frame.
        cache_pixels: of the cache's, to which preprocess resizes.
        shard_megabytes: preprocess.shard_megabytes: small, so that 1x has a shard for each core too.
        times: sizes to measure, ascending multiples of `episodes`.
    """

    episodes: int
    episode_frames: int
    pixels: int
    cache_pixels: int
    shard_megabytes: int
    times: tuple[int, ...] = TIMES


@dataclass(frozen=True)
class StepFigures:
    """One step on one size.

    Attributes:
        step: "ingest" or "preprocess".
        times: how much of the data: 1, 4, 16.
        episodes, frames: in it.
        seconds: of the step itself.
        frames_per_s: frames / seconds.
        peak_mib: resident memory of the process and its workers together, at most, in 2^20 bytes; pages that several
            of them share are counted for each.
        peak_private_mib: the same without pages of files (libraries, memory maps), which the system may drop.
    """

    step: str
    times: int
    episodes: int
    frames: int
    seconds: float
    frames_per_s: float
    peak_mib: float
    peak_private_mib: float


def measure_steps(raw: RawSet, folder: Path) -> list[StepFigures]:
    """Write the recordings below `folder`, an empty one, and run both steps on each size."""
    largest = folder / f"{max(raw.times)}x"
    _write_raw(raw, largest / "raw", raw.episodes * max(raw.times))
    figures = []
    for times in raw.times:
        project = folder / f"{times}x"
        if project != largest:
            _link_raw(largest / "raw", project / "raw", raw.episodes * times)
        (project / "raw.json").write_text(json.dumps([raw.pixels, raw.cache_pixels, raw.shard_megabytes]))
        figures += [_measured(step, times, raw, project) for step in STEPS]
    return figures


def time_against_linear(figures: list[StepFigures], step: str) -> float:
    """Seconds of the largest size beside what the two others lead to by a straight line: 1.0 is linear.

    A straight line and not a multiple: a step has a fixed part (starting its workers).
    """
    small, middle, large = (f for f in figures if f.step == step)
    slope = (middle.seconds - small.seconds) / (middle.times - small.times)
    return large.seconds / (middle.seconds + slope * (large.times - middle.times))


def memory_against_flat(figures: list[StepFigures], step: str) -> float:
    """Peak private memory of the largest size over that of the smallest: 1.0 is flat."""
    of = [f for f in figures if f.step == step]
    return of[-1].peak_private_mib / of[0].peak_private_mib


def _write_raw(raw: RawSet, folder: Path, episodes: int) -> None:
    (folder / "episodes").mkdir(parents=True)
    for number in range(episodes):
        rng = np.random.default_rng(number)
        arrays = {
            "frames": video(number, raw.episode_frames, raw.pixels),
            "actions": rng.normal(size=(raw.episode_frames, 3)).astype(np.float32),
            "states": rng.normal(size=(raw.episode_frames, 3)).astype(np.float32),
        }
        # As np.savez_compressed, at its fastest: the pictures are no part of what is measured.
        with zipfile.ZipFile(_episode(folder, number), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)


def _link_raw(whole: Path, folder: Path, episodes: int) -> None:
    (folder / "episodes").mkdir(parents=True)
    for number in range(episodes):
        os.link(_episode(whole, number), _episode(folder, number))


def _episode(folder: Path, number: int) -> Path:
    return folder / "episodes" / f"seed_{number:06d}.npz"


def _measured(step: str, times: int, raw: RawSet, project: Path) -> StepFigures:
    command = [sys.executable, "-m", "bench.steps", step, str(project)]
    log = project / f"{step}.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=file)
        peak, private = 0, 0
        while process.poll() is None:
            whole, own = _memory(process.pid)
            peak, private = max(peak, whole), max(private, own)
            time.sleep(SAMPLED_S)
    assert process.stdout is not None
    printed = process.stdout.read().decode()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{printed}{log.read_text()}")
    found = json.loads(printed.splitlines()[-1])
    expected = raw.episodes * times * raw.episode_frames
    if found["frames"] != expected:
        raise RuntimeError(f"{step} at {times}x: {found['frames']} frames came out, {expected} went in")
    return StepFigures(
        step,
        times,
        raw.episodes * times,
        expected,
        found["seconds"],
        expected / found["seconds"],
        peak / MIB,
        private / MIB,
    )


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process and all below it; and of these what belongs to no file."""
    whole, private = 0, 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0
    for process in processes:
        try:
            memory = process.memory_info()
        except psutil.NoSuchProcess:
            continue  # it has just ended
        whole += memory.rss
        private += memory.rss - getattr(memory, "shared", 0)  # where the system says it
    return whole, private


def main(step: str, project: Path) -> None:
    """Run one step on the recordings below `project`, and print what it took."""
    from components.ingest import step as ingest
    from components.preprocess import step as preprocess
    from moso.datasets.spec import DatasetSpec, SourceSpec, SplitSpec
    from moso.frames.cache import FrameCache
    from moso.step import Context

    pixels, cache_pixels, shard_megabytes = json.loads((project / "raw.json").read_text())
    context = Context(work=project / "work" / step, device="cpu", workers=available_cores())
    paths = {name: project / name for name in ("episodes", "frames")}
    splits = SplitSpec("id_ranges", (0, 900_000), (900_000, 950_000), (950_000, 1_000_000))
    spec = DatasetSpec("bench", "sim_push", SourceSpec("folder", str(project / "raw")), 10.0, splits)
    start = time.perf_counter()
    if step == "ingest":
        ingest.run(ingest.Config(spec), {}, {"episodes": paths["episodes"]}, context)
    else:
        size = cache_pixels if cache_pixels != pixels else None
        config = preprocess.Config(size, size, shard_megabytes)
        preprocess.run(config, {"episodes": paths["episodes"]}, {"frames": paths["frames"]}, context)
    seconds = time.perf_counter() - start
    if step == "ingest":
        frames = sum(json.loads((paths["episodes"] / "counts.json").read_text())["frames"].values())
    else:
        frames = sum(shard["frames"] for shard in FrameCache.open(paths["frames"]).index["shards"])
    print(json.dumps({"seconds": seconds, "frames": int(frames)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
