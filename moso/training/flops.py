"""Floating-point operations of a step, and how many a second the device can do: for model FLOPs utilisation."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from moso.device import wait_for
from moso.training.segment import recomputing

SIZE = {"cpu": 1024, "cuda": 4096}
"""Rows and columns of the matrices whose product measures the peak."""
TURNS = 5


class Flops(TorchDispatchMode):
    """Counts the operations of products, convolutions and attention inside, forward and backward, by the formulas of
    torch.utils.flop_counter. It changes no result.

    Those formulas do not have the CPU's fused attention. Its backward pass is taken as 2.5 times its forward, as they
    take it elsewhere.

    Args:
        again: count also what recomputed segments do again, which the model does not need and the device does.
    """

    def __init__(self, again: bool = False) -> None:
        super().__init__()
        self.total, self.again = 0.0, again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if recomputing() and not self.again:
            return out
        packet = func._overloadpacket
        if packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        elif packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
            self.total += _attention(*args[:3])
        elif packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
            self.total += 2.5 * _attention(*args[1:4])
        return out


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> float:
    """q k^T, and the weights times v."""
    *lead, rows, depth = query.shape
    return 2.0 * torch.Size(lead).numel() * rows * key.shape[-2] * (depth + value.shape[-1])


@functools.cache
def measured_peak(device: torch.device, precision: str) -> float:
    """FLOP/s of large products in the format of a training (see `product_speed`)."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    return product_speed(SIZE.get(device.type, 1024), dtype, device)


def product_speed(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of a product of two matrices of so many rows and columns, the best of a few.

    On a CPU the better of that and a 3x3 convolution of half as many channels, 32 x 32 pixels large. They are two
    libraries' work: where the one does not use the widest instructions, trainings, mostly convolutions, would reach
    more than "the peak".
    """
    a = torch.ones(size, size, dtype=dtype, device=device)
    speed = 2.0 * size**3 / best_seconds(lambda: a @ a, device)
    if device.type != "cpu":
        return speed
    channels, side = size // 2, 32
    image = torch.ones(1, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.ones(channels, channels, 3, 3, dtype=dtype)
    seconds = best_seconds(lambda: torch.nn.functional.conv2d(image, kernel, padding=1), device)
    return max(speed, 2.0 * side**2 * channels**2 * 9 / seconds)


def best_seconds(work: Callable[[], object], device: torch.device) -> float:
    """The shortest of a few calls, behind one that warms up."""
    times = []
    work()
    for _ in range(TURNS):
        wait_for(device)
        started = time.perf_counter()
        work()
        wait_for(device)
        times.append(time.perf_counter() - started)
    return min(times)
