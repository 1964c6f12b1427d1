"""Batches prepared ahead of the steps by one background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

from moso.training.sampler import Sample

Deal = Callable[[int], list[Sample]]
Prepare = Callable[[Sequence[Sample]], Any]
_POLL_S = 0.1


class Batches:
    """Iterates over (samples, batch) of the steps first … last - 1, in order; the thread ends with the `with` block.

    Args:
        deal: step -> its samples.
        prepare: samples -> batch (Objective.prepare); an exception in it is raised where the batch is asked for.
        first, last: the range of steps.
        depth: how many batches wait at most; 0: no thread, prepared when asked for.
    """

    def __init__(self, deal: Deal, prepare: Prepare, first: int, last: int, depth: int) -> None:
        self._deal, self._prepare, self._steps = deal, prepare, range(first, last)
        self._queue: queue.Queue[tuple[list[Sample], Any, BaseException | None]] = queue.Queue(max(depth, 1))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="prefetch", daemon=True) if depth else None

    def __enter__(self) -> Batches:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._thread:
            self._thread.join()

    def __iter__(self) -> Iterator[tuple[list[Sample], Any]]:
        for step in self._steps:
            if self._thread is None:
                samples = self._deal(step)
                yield samples, self._prepare(samples)
            else:
                samples, batch, error = self._queue.get()
                if error is not None:
                    raise error
                yield samples, batch

    def _fill(self) -> None:
        for step in self._steps:
            samples: list[Sample] = []
            try:
                samples = self._deal(step)
                item: tuple[list[Sample], Any, BaseException | None] = (samples, self._prepare(samples), None)
            except BaseException as error:  # every kind: the loop would wait for ever for a batch that never comes
                item = (samples, None, error)
            while not self._closing.is_set():
                try:
                    self._queue.put(item, timeout=_POLL_S)
                    break
                except queue.Full:
                    continue
            if self._closing.is_set() or item[2] is not None:
                return
