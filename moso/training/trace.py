"""The profiler switch: a trace of a few steps, to be looked at in a browser (ui.perfetto.dev, chrome://tracing)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile


class Trace:
    """Profiles `steps` steps from the second one on (the first warms up, and its FLOPs are counted).

    Args:
        steps: how many; 0: nothing is profiled.
        path: the file, JSON; written when the last of them is done, or the training ends before.
    """

    def __init__(self, steps: int, path: Path, device: torch.device) -> None:
        self.steps, self.path, self.done = steps, path, 0
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
        self.profile = profile(activities=activities, record_shapes=True) if steps else None
        self._running = False

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def step(self) -> None:
        """A step of the training is done."""
        if self.profile is None:
            return
        self.done += 1
        if self.done == 1:
            self.profile.start()
            self._running = True
        elif self.done > self.steps:
            self._end()

    def _end(self) -> None:
        if self.profile is None or not self._running:
            return
        self._running = False
        self.profile.stop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.profile.export_chrome_trace(str(self.path))
        print(f"trace of {min(self.steps, self.done - 1)} steps: {self.path}", file=sys.stderr, flush=True)
