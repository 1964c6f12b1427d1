"""A subject in a process of its own, so that its memory is its own: `python -m bench.worker`.

Lines of JSON go both ways. In: {"case", "variant", "device"}, then "count" (a turn under the counters of
bench.counting) and "turn" as often as wanted, then "end". Each is answered by one line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bench.counting import count
from bench.memory import Peak
from bench.roofline import synchronize
from bench.subjects import Case, Variant, make
from moso.config import build, to_dict

MIB = 2**20


class Here:
    """A subject in this process."""

    def __init__(self, case: Case, variant: Variant, device: torch.device) -> None:
        self.device = device
        self.peak = Peak(device)
        self.peak.restart()
        self.before = self.peak.now()
        self.subject = make(case, variant, device)
        self.peak.restart()

    def facts(self) -> dict[str, Any]:
        """What a call does."""
        return {"amount": self.subject.amount, "unit": self.subject.unit, "switches": self.subject.switches}

    def count(self) -> dict[str, Any]:
        """A turn under the counters; its time is a little too long."""
        start = time.perf_counter()
        flops, moved = count(self.subject.work)
        synchronize(self.device)
        return {"seconds": time.perf_counter() - start, "flops": flops, "bytes": moved}

    def turn(self) -> dict[str, Any]:
        """A turn."""
        synchronize(self.device)
        start = time.perf_counter()
        self.subject.work()
        synchronize(self.device)
        return {"seconds": time.perf_counter() - start}

    def end(self) -> dict[str, Any]:
        """The most memory since before the subject was made, weights included."""
        before = 0 if self.peak.whole else self.before
        return {"peak_mib": (self.peak.bytes() - before) / MIB, "whole_process": self.peak.whole}


class Elsewhere:
    """A subject in a process of its own; it is made while the caller goes on."""

    def __init__(self, case: Case, variant: Variant, device: torch.device) -> None:
        self.name = f"{case.row} {case.preset} {variant}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._send({"case": to_dict(case), "variant": variant, "device": str(device)})

    def facts(self) -> dict[str, Any]:
        """What a call does; waits until the subject is made."""
        return self._answer()

    def count(self) -> dict[str, Any]:
        """See Here.count."""
        return self._ask("count")

    def turn(self) -> dict[str, Any]:
        """See Here.turn."""
        return self._ask("turn")

    def end(self) -> dict[str, Any]:
        """See Here.end; the process ends."""
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
    subject = Here(build(Case, asked["case"]), asked["variant"], torch.device(asked["device"]))
    _say(subject.facts())
    for line in sys.stdin:
        what = json.loads(line)
        _say(getattr(subject, what)())
        if what == "end":
            return


def _say(found: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(found) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
