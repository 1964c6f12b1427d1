"""Where the time of a step goes, operator by operator: seconds, bytes, and the share of the machine's peak.

    python -m bench.profile [--preset sim_push/default] [--stage vqvae|transformer] [--steps 3] [--top 12]
    python -m bench.profile --row encode [--variant ours|off|plain] [--preset bair/default] [--batch 1] [--set …]

Without --row it profiles steps of a preset's training by the real loop, on random data; with it one call of a row of
`make bench`. Two tables in Markdown: groups of operators, and those that take longest. docs/performance.md keeps some.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity, profile

from bench.cases import ROWS, Case, Variant
from bench.counting import Operators
from bench.loop_steps import Stage, run_steps
from bench.machine import processor
from bench.operators import Row, grouped, rows
from bench.subjects import make
from moso.allocator import keep_freed_memory
from moso.cli.simulate import parse_settings
from moso.training.flops import measured_peak

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Profile:
    """Of one step, or one call.

    Attributes:
        seconds: of the wall, under the profiler.
        cpu_seconds: of this process, all threads: what a busy machine leaves as it is.
        operators: by the seconds that they took.
    """

    seconds: float
    cpu_seconds: float
    operators: Sequence[Row]


class Watch:
    """Looks at steps as they come: nothing of step 0, what step 1 counts, the time of all after it.

    Args:
        steps: that are timed.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.counted = steps, Operators()
        self.profile = profile(activities=[ProfilerActivity.CPU])
        self.seconds = self.cpu_seconds = 0.0
        self._hooks: list[Any] = []

    @property
    def last(self) -> int:
        """The step before which the profile ends."""
        return self.steps + 2

    def __call__(self, step: int) -> None:
        """Step `step` is about to begin."""
        if step == 1:
            self._hooks = [
                register_optimizer_step_pre_hook(lambda *_: self.within("optimizer")),
                register_optimizer_step_post_hook(lambda *_: self.within("")),
            ]
            self.counted.__enter__()
        elif step == 2:
            self.counted.__exit__(None, None, None)
            for hook in self._hooks:
                hook.remove()
            self.profile.start()
            self.seconds, self.cpu_seconds = time.perf_counter(), time.process_time()
        elif step == self.last:
            self.seconds = time.perf_counter() - self.seconds
            self.cpu_seconds = time.process_time() - self.cpu_seconds
            self.profile.stop()

    def result(self) -> Profile:
        """After the last step."""
        operators = rows(self.profile.events(), self.counted.by, self.steps)
        return Profile(self.seconds / self.steps, self.cpu_seconds / self.steps, operators)

    def within(self, label: str) -> None:
        """What comes belongs to `label`."""
        self.counted.within = label


def profile_stage(stage: Stage, preset: str, steps: int) -> Profile:
    """Steps of a preset's training, as the pipeline trains."""
    watch = Watch(steps)
    run_steps(stage, preset, watch.last, CPU, watch)
    return watch.result()


def profile_row(case: Case, variant: Variant) -> Profile:
    """One call of a row; its batch is drawn inside it and counts for what its operators are."""
    work, watch = make(case, variant, CPU).work, Watch(1)
    for step in (1, 2):  # the counted call warms up
        watch(step)
        work()
    watch(watch.last)
    return watch.result()


def table(found: Profile, flops_per_s: float, top: int) -> str:
    """Groups, and the operators that take longest, in Markdown."""
    return "\n".join(
        [
            "| group | ms | of the time | MB | GFLOP | of the peak |",
            "|---|---|---|---|---|---|",
            *_lines(grouped(found.operators), found.seconds, flops_per_s),
            _rest(found),
            "",
            "| operator | group | calls | ms | of the time | MB |",
            "|---|---|---|---|---|---|",
            *(
                f"| `{row.name.removeprefix('aten::')}` | {row.group} | {row.calls:,.0f} | {1e3 * row.seconds:,.3g} "
                f"| {row.seconds / found.seconds:.0%} | {row.bytes / 1e6:,.0f} |"
                for row in found.operators[:top]
            ),
        ]
    )


def _lines(groups: Iterable[Row], seconds: float, flops_per_s: float) -> list[str]:
    lines = []
    for row in groups:
        computed = f"{row.flops / 1e9:,.1f}" if row.flops else ""
        share = f"{row.flops / row.seconds / flops_per_s:.0%}" if row.flops and row.seconds else ""
        lines.append(
            f"| {row.name} | {1e3 * row.seconds:,.3g} | {row.seconds / seconds:.0%} | {row.bytes / 1e6:,.0f} "
            f"| {computed} | {share} |"
        )
    return lines


def _rest(found: Profile) -> str:
    """What no operator took: Python, autograd's own, and the profiler."""
    rest = max(0.0, found.seconds - sum(row.seconds for row in found.operators))
    return f"| between operators | {1e3 * rest:,.3g} | {rest / found.seconds:.0%} | | | |"


def main(arguments: list[str] | None = None) -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="Where the time of a step goes.")
    parser.add_argument("--preset", default="sim_push/default")
    parser.add_argument("--stage", choices=get_args(Stage), help="this training alone [both]")
    parser.add_argument("--steps", type=int, default=3, help="that are timed, behind two that warm up and count [3]")
    parser.add_argument("--row", choices=ROWS, help="a row of `make bench` in the place of a training")
    parser.add_argument("--variant", choices=("ours", "off", "plain"), default="ours", help="of the row [ours]")
    parser.add_argument("--batch", type=int, default=1, help="of the row: clips [1]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, for the row")
    parser.add_argument("--top", type=int, default=12, help="operators in the table [12]")
    parser.add_argument("--peak", type=float, default=0.0, help="GFLOP/s of the machine [a matrix product is measured]")
    parser.add_argument("--give-back", action="store_true", help="freed memory, as before moso/allocator.py")
    given = parser.parse_args(arguments)
    if given.variant == "ours" and not given.give_back:
        keep_freed_memory()  # as moso's steps and commands do
    peak = given.peak * 1e9 or measured_peak(CPU, "float32")
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}; {peak / 1e9:,.0f} GFLOP/s")
    if given.row:
        case = Case(given.row, given.preset, given.batch, parse_settings(given.set))
        shown = {f"{given.row}, {given.variant}": profile_row(case, given.variant)}
    else:
        stages = [given.stage] if given.stage else get_args(Stage)
        shown = {f"train_{stage}": profile_stage(stage, given.preset, given.steps) for stage in stages}
    for name, found in shown.items():
        took = f"{found.seconds:.3g} s, {found.cpu_seconds:.3g} s of CPU"
        print(f"\n{name}, {given.preset}: {took}\n\n{table(found, peak, given.top)}", flush=True)


if __name__ == "__main__":
    main()
