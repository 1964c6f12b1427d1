"""Workers that train one model together, each a process of torch.distributed; World and Solo are the bottom layer's."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor

from moso.world import Solo, World

__all__ = ["Distributed", "Solo", "World", "broadcast_"]


class Distributed:
    """The default process group of torch.distributed; the caller initialises it (gloo on a CPU, NCCL on GPUs).

    Every worker gets the same bits of a sum (gloo and NCCL add up each number once and hand it round), so what follows
    from it is the same everywhere: weights, codebook, and whether to stop.
    """

    def __init__(self) -> None:
        if not torch.distributed.is_initialized():
            raise RuntimeError("call torch.distributed.init_process_group before Distributed()")
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()
        self._gpus_alone = torch.distributed.get_backend() == "nccl"

    def all_reduce_(self, tensor: Tensor) -> Tensor:
        if self._gpus_alone and tensor.device.type == "cpu":  # NCCL sums nothing on a CPU: by way of the GPU
            there = tensor.cuda()
            torch.distributed.all_reduce(there)
            return tensor.copy_(there)
        torch.distributed.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        torch.distributed.barrier()


def broadcast_(tensor: Tensor, world: World) -> Tensor:
    """Replace `tensor` by rank 0's, bit for bit and in place; every worker must call it."""
    # As bytes: a sum of numbers would make 0 of -0, and gloo sums no booleans. In one contiguous piece, which
    # channels_last weights are not.
    whole = tensor.detach().clone(memory_format=torch.contiguous_format)
    octets = whole.view(-1).view(torch.uint8)
    if world.rank != 0:
        octets.zero_()
    world.all_reduce_(octets)
    with torch.no_grad():
        return tensor.copy_(whole)
