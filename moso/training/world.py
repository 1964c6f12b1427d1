"""The group of workers that train one model together, as the loop sees it: rank, size, all_reduce_, barrier."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.distributed
from torch import Tensor


@runtime_checkable  # tests check arguments as they are passed
class World(Protocol):
    """Workers of one training; every one of them runs the same steps on its own part of each batch."""

    @property
    def rank(self) -> int:
        """This worker's number in [0, size); rank 0 writes checkpoints and records."""

    @property
    def size(self) -> int:
        """Number of workers."""

    def all_reduce_(self, tensor: Tensor) -> Tensor:
        """Replace `tensor` by its sum over all workers, in place; every worker must call it, in the same order."""

    def barrier(self) -> None:
        """Wait until every worker is here."""


class Solo:
    """One process, without torch.distributed."""

    rank = 0
    size = 1

    def all_reduce_(self, tensor: Tensor) -> Tensor:
        return tensor

    def barrier(self) -> None: ...


class Distributed:
    """The default process group of torch.distributed; the caller initialises it (gloo on a CPU, NCCL on GPUs)."""

    def __init__(self) -> None:
        if not torch.distributed.is_initialized():
            raise RuntimeError("call torch.distributed.init_process_group before Distributed()")
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()

    def all_reduce_(self, tensor: Tensor) -> Tensor:
        torch.distributed.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        torch.distributed.barrier()


def broadcast_(tensor: Tensor, world: World) -> Tensor:
    """Replace `tensor` by rank 0's, in place; every worker must call it."""
    # As numbers (gloo sums no booleans) in one contiguous piece (channels_last weights are not).
    numbers = tensor.to(torch.uint8 if tensor.dtype == torch.bool else tensor.dtype, copy=True).contiguous()
    if world.rank != 0:
        numbers.zero_()
    return tensor.copy_(world.all_reduce_(numbers))
