"""`make chaos`: the tiny configuration killed at random moments ends in what an undisturbed run ends in.

Two clones of the committed state, each with a DVC cache of its own. In the first `dvc repro` runs once, undisturbed,
and its length is measured, stage by stage. In the second it is killed with SIGKILL, stages and all, at moments spread
over that length, and started again each time. Metrics and weights of the two must be the same bytes.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moso.errors import MosoError
from moso.provenance import digest_file

ROOT = Path(__file__).parent.parent
RESULTS = (
    "reports/metrics.json",
    "reports/per_clip.parquet",
    "models/sim_push/vqvae/model.safetensors",
    "models/sim_push/transformer/model.safetensors",
)
DVC = "dvc"
"""What runs before the first stage."""
_STAGE = re.compile(r"Running stage '(\w+)'")
_LOOP = re.compile(r"(\w+): precision ")
_RESUMED = re.compile(r"(\w+): goes on from step (\d+) of (\d+)")
_POLL_S = 0.02


@dataclass(frozen=True)
class Span:
    """A stage of the undisturbed run, in seconds since its beginning: DVC's own work after it is counted to it.

    Attributes:
        loop: when the training loop began; None where the stage has none.
    """

    stage: str
    start: float
    loop: float | None
    end: float


@dataclass(frozen=True)
class Kill:
    """A kill that fell into the run, or is to.

    Attributes:
        moment: seconds of the undisturbed run.
        stage: that it is to fall into.
        wait: seconds after the stage's beginning, or, where `in_loop`, after the point of its training loop.
    """

    moment: float
    stage: str
    wait: float
    in_loop: bool


@dataclass
class Seen:
    """What a run's output has said so far: time since the start of what is asked for later."""

    stages: dict[str, float]
    loops: dict[str, float]
    resumed: dict[str, tuple[int, int]]

    @classmethod
    def of(cls) -> Seen:
        """Nothing yet."""
        return cls({}, {}, {})

    def read(self, line: str, now: float) -> None:
        """Take in one line of output."""
        if found := _STAGE.search(line):
            self.stages[found[1]] = now
        elif found := _LOOP.search(line):
            self.loops[found[1]] = now
        elif found := _RESUMED.search(line):
            self.resumed[found[1]] = int(found[2]), int(found[3])

    @property
    def running(self) -> str:
        """The stage that began last."""
        return list(self.stages)[-1] if self.stages else DVC


def spans_of(seen: Seen, length: float) -> list[Span]:
    """The undisturbed run's stages, without gaps from 0 to `length`."""
    names, starts = [DVC, *seen.stages], [0.0, *seen.stages.values()]
    ends = [*starts[1:], length]
    return [Span(n, s, seen.loops.get(n), e) for n, s, e in zip(names, starts, ends, strict=True)]


def moments(seed: int, count: int, length: float) -> list[float]:
    """`count` random moments in order, one in each of as many equal pieces of the run."""
    draw = random.Random(seed)
    return [(piece + draw.random()) * length / count for piece in range(count)]


def place(moment: float, spans: Sequence[Span]) -> Kill:
    """Where `moment` of the undisturbed run lies."""
    span = next(span for span in spans if moment < span.end)
    if span.loop is not None and moment >= span.loop:
        return Kill(moment, span.stage, moment - span.loop, in_loop=True)
    return Kill(moment, span.stage, moment - span.start, in_loop=False)


def due(kill: Kill, seen: Seen, spans: Sequence[Span]) -> float | None:
    """Seconds since this start at which `kill` is due; None while that cannot be said yet.

    A training that goes on from a checkpoint reaches a point of its loop earlier by what it does not do again. Where
    the stage is over already, the kill is due at once, in whatever follows.
    """
    order = [span.stage for span in spans]
    if order.index(seen.running) > order.index(kill.stage):
        return 0.0
    if kill.stage == DVC:
        return kill.wait
    if not kill.in_loop:
        return seen.stages[kill.stage] + kill.wait if kill.stage in seen.stages else None
    if kill.stage not in seen.loops:
        return None
    span = spans[order.index(kill.stage)]
    step, steps = seen.resumed.get(kill.stage, (0, 1))
    spared = step / steps * (span.end - (span.loop or span.start))
    return seen.loops[kill.stage] + max(0.0, kill.wait - spared)


def clone(folder: Path) -> None:
    """The committed state of this repository with the preset `tiny`, nothing run yet."""
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(folder)], check=True)
    (folder / "dvc.lock").unlink(missing_ok=True)  # of the real run
    params = folder / "params.yaml"
    text, changed = re.subn(r"^preset: \w+", "preset: tiny", params.read_text(), flags=re.MULTILINE)
    if changed != 1:
        raise MosoError(f"{params}: has no line 'preset: …' to change to tiny")
    params.write_text(text)


def repro(folder: Path, kill: Kill | None, spans: Sequence[Span]) -> tuple[Seen, float, bool]:
    """`dvc repro` in `folder`, killed when `kill` is due; what it said, seconds, and whether it was killed.

    Raises:
        MosoError: it failed by itself.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MOSO_", "MLFLOW_"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"}
    environment |= {"OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    log, seen, start = folder.parent / f"{folder.name}.log", Seen.of(), time.monotonic()
    with log.open("w") as out, log.open() as lines:
        command = [sys.executable, "-m", "dvc", "repro"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True)
        try:
            while process.poll() is None:
                now = time.monotonic() - start
                for line in lines:
                    seen.read(line, now)
                at = due(kill, seen, spans) if kill else None
                if at is not None and now >= at:
                    break
                time.sleep(_POLL_S)
        finally:
            killed = process.poll() is None
            if killed:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for line in lines:
            seen.read(line, time.monotonic() - start)
    if not killed and process.returncode:
        raise MosoError(f"dvc repro failed by itself (status {process.returncode}); its output is {log}")
    return seen, time.monotonic() - start, killed


def differing(one: Path, other: Path) -> list[str]:
    """The results that are not the same bytes in two folders."""
    return [name for name in RESULTS if digest_file(one / name) != digest_file(other / name)]


def row(number: int, kill: Kill, at: float, running: str, after: Seen) -> str:
    """A line of the table; `after`: what the next start said."""
    if running in after.resumed:
        went_on = "step {} of {}".format(*after.resumed[running])
    else:
        went_on = "its start" if running in after.stages or running == DVC else "its output: it was whole"
    return f"| {number} | {kill.moment:.1f} | {at:.1f} | {running} | {went_on} |"


def disturb(folder: Path, kills: Sequence[Kill], spans: Sequence[Span], first: int) -> int:
    """Run in `folder` with all kills that fall into the run, print their rows; how many those were."""
    before: tuple[Kill, float, str] | None = None
    for number in range(len(kills) + 1):
        kill = kills[number] if number < len(kills) else None
        seen, took, killed = repro(folder, kill, spans)
        if before:
            print(row(first + number - 1, *before, seen), flush=True)
        if not killed or kill is None:
            return number
        before = kill, took, seen.running
    raise AssertionError("the last start has no kill")


def chaos(folder: Path, count: int, seed: int) -> None:
    """Run both, print the table.

    Raises:
        MosoError: a result differs, or a run failed by itself.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    clone(folder / "undisturbed")
    seen, length, _ = repro(folder / "undisturbed", None, ())
    spans = spans_of(seen, length)
    print(f"undisturbed: {length:.1f} s, " + ", ".join(f"{s.stage} {s.end - s.start:.1f} s" for s in spans))
    print("\n| kill | moment, s of the undisturbed run | s after the start | running | went on from |")
    print("|---|---|---|---|---|", flush=True)
    done, area = 0, 0
    while done < count:  # the machine may be faster than it was: what missed the run falls into another one
        area += 1
        disturbed = folder / f"disturbed_{area}"
        clone(disturbed)
        kills = [place(moment, spans) for moment in moments(seed + area, count - done, length)]
        done += disturb(disturbed, kills, spans, done + 1)
        if wrong := differing(folder / "undisturbed", disturbed):
            raise MosoError(f"{disturbed}: differs from the undisturbed run in {', '.join(wrong)}")
    print(f"\n{done} kills in {area} run(s): {', '.join(RESULTS)} are the same bytes as of the undisturbed run.")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="default: 20")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "chaos", help="default: build/chaos")
    parsed = parser.parse_args()
    try:
        chaos(parsed.folder.absolute(), parsed.kills, parsed.seed)
    except MosoError as error:
        sys.exit(f"chaos: {error}")


if __name__ == "__main__":
    main()
