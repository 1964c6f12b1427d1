"""Which sample comes at which position of a training: a pure function of the seed, dealt to the workers.

The position in the data is the number of samples seen, so a run may go on with another number of workers: the global
batch at a position is the same, only its deal differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from moso.training.random import generator
from moso.training.world import World


@dataclass(frozen=True, slots=True)
class Sample:
    """One place in the training's order.

    Attributes:
        position: number of samples seen before it, from the start of the training; the key for its random numbers.
        epoch: passes over the data completed before it.
        index: which sample of the training set, in [0, size).
    """

    position: int
    epoch: int
    index: int


@lru_cache(maxsize=2)  # a batch may lie across the border of two epochs
def order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The permutation int64 (size,) in which epoch `epoch` visits the samples; read-only."""
    permutation = torch.randperm(size, generator=generator(seed, "order", epoch)).numpy()
    permutation.flags.writeable = False
    return permutation


def samples(seed: int, size: int, position: int, count: int, world: World) -> list[Sample]:
    """This worker's part of the `count` samples from `position` on (the global batch).

    Workers get consecutive parts that differ by at most one sample; joined in the order of ranks they are the global
    batch, whatever the number of workers. The last samples of an epoch share a batch with the first of the next.

    Raises:
        ValueError: the training set is empty, or there are fewer samples than workers.
    """
    if size < 1:
        raise ValueError("the training set is empty")
    if count < world.size:
        raise ValueError(f"a batch of {count} cannot be dealt to {world.size} workers")
    first, end = count * world.rank // world.size, count * (world.rank + 1) // world.size
    at, end = position + first, position + end
    dealt: list[Sample] = []
    while at < end:  # an epoch a turn: its part of the batch is one stretch of its order
        epoch, within = divmod(at, size)
        for index in order(seed, epoch, size)[within : within + end - at].tolist():
            dealt.append(Sample(at, epoch, index))
            at += 1
    return dealt
