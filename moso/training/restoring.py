"""Where a training goes on: the newest whole checkpoint that rank 0 finds, handed to every worker.

Workers on other machines need not see rank 0's work folder: what it read comes to them over the world's sum.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from moso.training.checkpoint import Checkpoint, newest
from moso.training.work import WorkFolder
from moso.training.world import World


def found(work: WorkFolder, restore: Path | None, world: World, device: torch.device) -> Checkpoint | None:
    """The newest whole checkpoint of `work`, or `restore` where that is newer; None where there is none.

    Every worker must call it; rank 0 alone reads.

    Args:
        restore: the folder of one checkpoint, which a runtime brought from elsewhere.
        device: that the world's sums are made on.
    """
    own = newest(work.checkpoints, *([restore] if restore else [])) if world.rank == 0 else None
    return own if world.size == 1 else _from_rank_0(own, world, device)


def _from_rank_0(own: Checkpoint | None, world: World, device: torch.device) -> Checkpoint | None:
    header = json.dumps(_header(own) if own else None).encode()
    length = int(world.all_reduce_(torch.tensor([len(header) if world.rank == 0 else 0], device=device)).item())
    # Zeros on the others, which their sum with rank 0's bytes leaves as they are.
    text = torch.zeros(length, dtype=torch.uint8)
    if world.rank == 0:
        text = torch.frombuffer(bytearray(header), dtype=torch.uint8)
    told = json.loads(bytes(_bytes_from_rank_0(text, world, device).tolist()))
    if told is None:
        return None
    tensors: dict[str, dict[str, Tensor]] = {}
    for group, described in told["tensors"].items():
        tensors[group] = {}
        for name, (kind, shape) in described.items():
            tensor = own.tensors[group][name] if own else torch.empty(shape, dtype=getattr(torch, kind))
            data = tensor.contiguous().reshape(-1).view(torch.uint8)
            tensors[group][name] = _bytes_from_rank_0(data, world, device).view(tensor.dtype).reshape(shape)
    return own or Checkpoint(told["step"], tensors, told["state"])


def _header(own: Checkpoint) -> dict[str, object]:
    tensors = {
        group: {name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in named.items()}
        for group, named in own.tensors.items()
    }
    return {"step": own.step, "state": dict(own.state), "tensors": tensors}


def _bytes_from_rank_0(data: Tensor, world: World, device: torch.device) -> Tensor:
    """Rank 0's bytes, on the CPU. A sum of bytes with zeros changes none; one of numbers would lose the sign of 0."""
    if not data.numel():
        return data
    moved = data.to(device, copy=True)
    return world.all_reduce_(moved if world.rank == 0 else moved.zero_()).cpu()
