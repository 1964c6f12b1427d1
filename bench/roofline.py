"""What the machine can do, measured: FLOP/s of a matrix product, bytes/s of a copy; and which of them limits a row."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from moso.training.flops import best_seconds, product_speed


@dataclass(frozen=True)
class Peaks:
    """The best that this machine did with all its threads.

    Attributes:
        flops_per_s: of float32, the better of a matrix product and a 3x3 convolution (moso.training.flops).
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
    seconds = best_seconds(lambda: target.copy_(source), device)
    del source, target
    return Peaks(
        product_speed(size, torch.float32, device),
        product_speed(size, torch.bfloat16, device) if bf16 else None,
        2 * copied / seconds,
    )


def limit(flops: float, moved: float, seconds: float, flops_per_s: float, bytes_per_s: float) -> Limit:
    """The roofline's answer for work that took `seconds`."""
    by_flops, by_bytes = flops / flops_per_s, moved / bytes_per_s
    by = "flops" if by_flops >= by_bytes else "bytes"
    return Limit(by, max(by_flops, by_bytes) / seconds)
