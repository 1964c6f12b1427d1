"""Floating-point operations of a step, and how many a second the device can do: for model FLOPs utilisation."""

from __future__ import annotations

import functools
import time
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
    """FLOP/s of a large matrix product in the format of a training, the best of a few."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    size = SIZE.get(device.type, 1024)
    a = torch.ones(size, size, dtype=dtype, device=device)
    times = []
    for _ in range(TURNS):
        wait_for(device)
        started = time.perf_counter()
        a @ a
        wait_for(device)
        times.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(times)
