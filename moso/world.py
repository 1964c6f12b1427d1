"""The group of workers that run one step together: rank, size, all_reduce_, barrier.

It lies below everything because a step's context carries it; moso.training.world has the torch.distributed one. torch
is imported by those who pass tensors, not here: simulator and command line read contexts and have no use for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@runtime_checkable  # tests check arguments as they are passed
class World(Protocol):
    """Workers of one training; every one of them runs the same steps on its own part of each batch."""

    @property
    def rank(self) -> int:
        """This worker's number in [0, size); rank 0 writes checkpoints, records and outputs."""

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

    def all_reduce_(self, tensor: T) -> T:
        """The sum over one worker."""
        return tensor

    def barrier(self) -> None:
        """Nobody to wait for."""
