"""Progress of long work: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")
BAR_CELLS = 24
TERMINAL_PERIOD_S = 0.2
LINES_PERIOD_S = 10.0


def clock(seconds: float) -> str:
    """65 -> '1:05', 3700 -> '1:01:40'."""
    whole = int(seconds + 0.5)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Counts work done and shows it; one object a task.

    Use as a context manager. `advance` says how much was done and may carry a few figures to show.
    """

    def __init__(
        self, title: str, total: int, unit: str = "it", *, done: int = 0, stream: TextIO | None = None
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self._first = done
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._start = self._shown = time.monotonic()
        self._note = ""

    def __enter__(self) -> Progress:
        self._start = self._shown = time.monotonic()
        if not self._terminal:
            print(f"{self.title}: {self.total} {self.unit}", file=self._stream, flush=True)
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        end = "" if kind is None else " (interrupted)"
        self._show(end=end, last=True)

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more units are done; `note` is shown behind the numbers."""
        self.done += amount
        self._note = note or self._note
        period = TERMINAL_PERIOD_S if self._terminal else LINES_PERIOD_S
        if time.monotonic() - self._shown >= period:
            self._show()

    def _show(self, end: str = "", last: bool = False) -> None:
        now = time.monotonic()
        self._shown = now
        elapsed = max(now - self._start, 1e-9)
        rate = (self.done - self._first) / elapsed
        share = self.done / self.total if self.total else 1.0
        remaining = (
            f"{clock((self.total - self.done) / rate)} left" if rate > 0 and not last else f"{clock(elapsed)} taken"
        )
        pace = f"{rate:.1f} {self.unit}/s" if rate >= 1 or rate == 0 else f"{1 / rate:.1f} s/{self.unit}"
        text = f"{self.title} {share:4.0%} {self.done}/{self.total} {pace} {remaining}"
        text += f"  {self._note}" if self._note else ""
        if self._terminal:
            filled = round(BAR_CELLS * min(share, 1.0))
            bar = "#" * filled + "-" * (BAR_CELLS - filled)
            print(f"\r\x1b[K[{bar}] {text}{end}", end="\n" if last else "", file=self._stream, flush=True)
        else:
            print(f"{text}{end}", file=self._stream, flush=True)


def track(items: Iterable[T], title: str, total: int, unit: str = "it") -> Iterator[T]:
    """Yield from `items`, showing progress over `total` of them."""
    with Progress(title, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()
