"""What a training achieves, for the tracker: rates, waiting for data, memory, model FLOPs utilisation.

Nothing of it enters the history or the result, which equal runs share.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping

import torch


class Speed:
    """Times since the last point of the curves.

    Args:
        per_sample: what a sample counts (Objective.per_sample).
        batch: samples a step, over all workers.
        peak: FLOP/s of this worker's device.
    """

    def __init__(self, per_sample: Mapping[str, int], batch: int, device: torch.device, peak: float) -> None:
        self.per_sample, self.batch, self.device, self.peak = per_sample, batch, device, peak
        self.flops: float | None = None
        """Of this worker's part of a step; None before one was counted."""
        self.steps, self.waited, self.busy = 0, 0.0, 0.0
        self._points: list[tuple[int, float, float, float]] = []
        """Of each point taken: steps, seconds of waiting and of work, operations."""

    def add(self, waited: float, busy: float) -> None:
        """Count a step: seconds for which it waited for its batch, and those after."""
        self.steps, self.waited, self.busy = self.steps + 1, self.waited + waited, self.busy + busy

    @property
    def seconds(self) -> float:
        """Since the last point."""
        return max(self.waited + self.busy, 1e-9)

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.batch * self.steps / self.seconds

    def take(self) -> dict[str, float]:
        """The figures, and begin anew.

        samples_per_s and <what per_sample names>_per_s; data_wait_s, and its share of the time; peak_memory_mb, of the
        process on a CPU and of torch's tensors on a GPU, since the start; model_flops_utilisation in [0, 1], and
        flops_per_step, which it is of.
        """
        figures = {
            "samples_per_s": self.rate,
            **{f"{name}_per_s": self.rate * count for name, count in self.per_sample.items()},
            "data_wait_s": self.waited,
            "data_wait_share": self.waited / self.seconds,
            "peak_memory_mb": peak_memory(self.device) / 1e6,
        }
        if self.flops is not None:
            figures["flops_per_step"] = self.flops
            figures["model_flops_utilisation"] = self.flops * self.steps / self.seconds / self.peak
        self._points.append((self.steps, self.waited, self.busy, (self.flops or 0.0) * self.steps))
        self.steps, self.waited, self.busy = 0, 0.0, 0.0
        return figures

    def summary(self) -> str:
        """The figures of all points taken, as a line for the log; empty before the first."""
        if not self._points:
            return ""
        steps, waited, busy, flops = (sum(values) for values in zip(*self._points, strict=True))
        seconds = max(waited + busy, 1e-9)
        rate = self.batch * steps / seconds
        said = [f"{rate:.3g} samples/s", *(f"{rate * count:.4g} {name}/s" for name, count in self.per_sample.items())]
        said.append(f"{100 * waited / seconds:.1f}% of the time waiting for data")
        said.append(f"peak memory {peak_memory(self.device) / 1e6:.0f} MB")
        if flops:
            said.append(f"{flops / seconds / 1e9:.3g} GFLOP/s, {100 * flops / seconds / self.peak:.0f}% of the peak")
        return ", ".join(said)


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that torch's tensors took on a GPU, or the whole process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
