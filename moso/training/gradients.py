"""Summing gradients over the workers of a world."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from moso.training.world import World


@torch.no_grad()
def all_reduce_gradients_(parameters: Sequence[nn.Parameter], world: World) -> None:
    """Replace each gradient by its sum over the workers, in one message.

    A parameter that has a gradient on some workers only gets one on all; one that has none anywhere keeps none, so that
    the optimizer leaves it alone as it does in a single process.
    """
    if world.size == 1:
        return
    device = parameters[0].device
    present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=device)
    counts = world.all_reduce_(present).tolist()
    used = [p for p, count in zip(parameters, counts, strict=True) if count > 0]
    if not used:
        return
    pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
    summed = world.all_reduce_(torch.cat([piece.flatten() for piece in pieces]))
    for parameter, piece in zip(used, summed.split([p.numel() for p in used]), strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(piece.view(parameter.shape))
