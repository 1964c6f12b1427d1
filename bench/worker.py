"""A subject in a process of its own, so that its memory is its own: `python -m bench.worker`.

Lines of JSON go both ways. In: {"case" or "point", "variant", "device"}, then "count" (a turn under the counters of
bench.counting) and "turn" as often as wanted, then "end". Each is answered by one line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bench.cases import Case, Subject, Variant
from bench.counting import count
from bench.memory import Peak
from bench.points import Point, make_point
from bench.subjects import make
from moso.allocator import keep_freed_memory
from moso.config import build, to_dict
from moso.device import wait_for
from moso.training.settings import torch_settings

MIB = 2**20


class Measured:
    """A subject in this process.

    Args:
        make: makes it; what the process takes before, libraries and their workspaces included, does not count.
    """

    def __init__(self, make: Callable[[], Subject], device: torch.device) -> None:
        self.device = device
        self.peak = Peak(device)
        warm_up(device)
        self.peak.restart()
        self.before = self.peak.now()
        self.subject = make()
        self.peak.restart()

    def facts(self) -> dict[str, Any]:
        """What a call does."""
        facts = dataclasses.asdict(dataclasses.replace(self.subject, work=_nothing))
        del facts["work"]
        return facts

    def count(self) -> dict[str, Any]:
        """A turn under the counters; its time is a little too long. What is compiled is compiled by a turn more."""
        uncompiled = torch.compiler.set_stance("force_eager") if self.subject.compiled else contextlib.nullcontext()
        start = time.perf_counter()
        with uncompiled:
            flops, moved = count(self.subject.work)
            wait_for(self.device)
        found = {"seconds": time.perf_counter() - start, "flops": flops, "bytes": moved}
        if self.subject.compiled:
            found["compilation_seconds"] = self.turn()["seconds"]
        return found

    def turn(self) -> dict[str, Any]:
        """A turn."""
        wait_for(self.device)
        start = time.perf_counter()
        self.subject.work()
        wait_for(self.device)
        return {"seconds": time.perf_counter() - start}

    def end(self) -> dict[str, Any]:
        """The most memory since before the subject was made, weights included."""
        before = 0 if self.peak.whole else self.before
        return {"peak_mib": (self.peak.bytes() - before) / MIB, "whole_process": self.peak.whole}


@functools.cache
def warm_up(device: torch.device) -> None:
    """Have the libraries loaded and their workspaces made, on a few small numbers.

    Once a process. Imports that torch puts off (counters, optimizers, checkpointing), thread pools, oneDNN's and MKL's
    buffers, cuBLAS's workspaces: tens of MiB in a process's life, and no subject's.
    """
    image = torch.ones(2, 8, 16, 16, device=device).contiguous(memory_format=torch.channels_last)
    layers = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1), nn.GroupNorm(2, 16), nn.GELU(), nn.ConvTranspose2d(16, 8, 4, 2, 1)
    ).to(device)
    linear = nn.Linear(64, 64, device=device)
    parameters = [*layers.parameters(), *linear.parameters()]
    optimizers = [
        kind(parameters, lr=1e-4, fused=fused)
        for kind in (torch.optim.Adam, torch.optim.AdamW)
        for fused in (True, False)
    ]

    def work() -> None:
        x = linear(torch.ones(2, 4, 32, 64, device=device))
        mixed = F.scaled_dot_product_attention(x, x, x, dropout_p=0.1)
        written = (x @ x.transpose(-1, -2)).softmax(-1) @ x
        logits = F.cross_entropy((mixed + written).flatten(0, 2), torch.zeros(256, dtype=torch.long, device=device))
        (layers(image).square().mean() + logits).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    for deterministic in (False, True):
        with torch_settings(device, deterministic):
            count(work)
            work()
    wait_for(device)


def here(what: Case | Point, variant: Variant, device: torch.device) -> Measured:
    """A subject in this process."""
    if isinstance(what, Point):
        return Measured(lambda: make_point(what, device), device)
    return Measured(lambda: make(what, variant, device), device)


class Elsewhere:
    """A subject in a process of its own; it is made while the caller goes on."""

    def __init__(self, what: Case | Point, variant: Variant, device: torch.device) -> None:
        self.name = f"{what} {variant}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        kind = "point" if isinstance(what, Point) else "case"
        self._send({kind: to_dict(what), "variant": variant, "device": str(device)})

    def facts(self) -> dict[str, Any]:
        """What a call does; waits until the subject is made."""
        return self._answer()

    def count(self) -> dict[str, Any]:
        """See Measured.count."""
        return self._ask("count")

    def turn(self) -> dict[str, Any]:
        """See Measured.turn."""
        return self._ask("turn")

    def end(self) -> dict[str, Any]:
        """See Measured.end; the process ends."""
        found = self._ask("end")
        self.process.communicate()
        return found

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.communicate()

    def _ask(self, what: str) -> dict[str, Any]:
        self._send(what)
        return self._answer()

    def _send(self, message: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: its process ended with {self.process.wait()} (-9: out of memory)")
        found: dict[str, Any] = json.loads(line)
        return found


def main() -> None:
    """Serve one subject."""
    asked = json.loads(sys.stdin.readline())
    if asked["variant"] not in ("off", "plain"):
        keep_freed_memory()  # as moso's steps and commands do
    what = build(Point, asked["point"]) if "point" in asked else build(Case, asked["case"])
    subject = here(what, asked["variant"], torch.device(asked["device"]))
    _say(subject.facts())
    for line in sys.stdin:
        what = json.loads(line)
        _say(getattr(subject, what)())
        if what == "end":
            return


def _nothing() -> None:
    """In place of work."""


def _say(found: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(found) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
