"""What the machine can do, measured: FLOP/s of a matrix product, bytes/s of a copy; and which of them limits a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from moso.device import wait_for

TURNS = 5


@dataclass(frozen=True)
class Peaks:
    """The best that this machine did with all its threads.

    Attributes:
        flops_per_s: of float32, the better of a matrix product and a 1x1 convolution of the same size.
        bf16_flops_per_s: the same in bf16; None where the hardware has none.
        bytes_per_s: read and written together, by a copy that fits into no cache.
    """

    flops_per_s: float
    bf16_flops_per_s: float | None
    bytes_per_s: float


@dataclass(frozen=True)
class Limit:
    """Where a row stands under the roof.

    Attributes:
        by: "flops" or "bytes": which of the two takes longer at the machine's peak.
        share: that time over the measured one; what is missing to 1 went into waiting, small operations and the parts
            that reach no peak. Above 1 caches held what `bytes` counts as moved.
    """

    by: str
    share: float


def measure_peaks(device: torch.device, bf16: bool, small: bool = False) -> Peaks:
    """Seconds on a CPU; `small` only shows whether it runs."""
    size = 128 if small else 8192 if device.type == "cuda" else 2048
    copied = 2**20 if small else 2**29
    source = torch.ones(copied // 4, device=device)
    target = torch.empty_like(source)
    seconds = _best(lambda: target.copy_(source), device)
    del source, target
    return Peaks(
        _products(size, torch.float32, device),
        _products(size, torch.bfloat16, device) if bf16 else None,
        2 * copied / seconds,
    )


def limit(flops: float, moved: float, seconds: float, flops_per_s: float, bytes_per_s: float) -> Limit:
    """The roofline's answer for work that took `seconds`."""
    by_flops, by_bytes = flops / flops_per_s, moved / bytes_per_s
    by = "flops" if by_flops >= by_bytes else "bytes"
    return Limit(by, max(by_flops, by_bytes) / seconds)


def _products(size: int, dtype: torch.dtype, device: torch.device) -> float:
    a = torch.ones(size, size, dtype=dtype, device=device)
    image = torch.ones(1, size, size, 1, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    kernel = a[:, :, None, None]
    with torch.no_grad():
        seconds = _best(lambda: a @ a, device)
        if device.type == "cpu":
            seconds = min(seconds, _best(lambda: torch.nn.functional.conv2d(image, kernel), device))
    return 2 * size**3 / seconds


def _best(work: Callable[[], object], device: torch.device) -> float:
    times = []
    work()
    for _ in range(TURNS):
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        times.append(time.perf_counter() - start)
    return min(times)
