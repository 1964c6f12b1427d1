"""Working on many clips a few at a time, so that memory is bounded whatever their number is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8

OnProgress = Callable[[int], None]
"""Called with the number of clips that were just done."""

P = ParamSpec("P")
R = TypeVar("R")


def inference(function: Callable[P, R]) -> Callable[P, R]:
    """Without gradients; a wrapper of our own because torch's loses the function's type."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode():
            return function(*args, **kwargs)

    return wrapped


def chunks(clips: int, batch: int, on_progress: OnProgress | None = None) -> Iterator[slice]:
    """The clips 0 .. `clips` - 1 in slices of `batch`; `on_progress` is told of each when it is done."""
    for first in range(0, clips, batch):
        rows = slice(first, min(first + batch, clips))
        yield rows
        if on_progress is not None:
            on_progress(rows.stop - rows.start)


def gather(
    work: Callable[[slice], UInt8[np.ndarray, "n ..."]],
    clips: int,
    batch: int,
    on_progress: OnProgress | None = None,
) -> UInt8[np.ndarray, "N ..."]:
    """What `work` gives for each slice of at least one clip, in one array: nothing is held twice."""
    result: np.ndarray | None = None
    for rows in chunks(clips, batch, on_progress):
        part = work(rows)
        if result is None:
            result = np.empty((clips, *part.shape[1:]), part.dtype)
        result[rows] = part
    assert result is not None
    return result
