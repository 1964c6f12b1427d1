"""Workers that train one model together, each a process of torch.distributed; World and Solo are the bottom layer's."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor

from moso.world import Solo, World

__all__ = ["Distributed", "Solo", "World", "broadcast_"]


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
