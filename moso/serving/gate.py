"""How many requests are inside at once, and for how long: places, workers, deadlines.

A place is taken before a body is read and given back when the work is done, so that memory is bounded by places times
what a request may bring. Work runs in threads; one that nobody waits for any more ends at its next batch of clips and
keeps its place until then.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from moso.serving.errors import BusyError, LateError, StoppedError

R = TypeVar("R")
LOOK_S = 0.25  # how often a caller is looked after while its work runs


class Stop:
    """Tells work that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """From now on `__call__` raises."""
        self._event.set()

    def __call__(self, _done: int = 0) -> None:
        """What a task's `on_progress` is given.

        Raises:
            StoppedError: the work is to end.
        """
        if self._event.is_set():
            raise StoppedError("nobody waits for this any more")


class Place:
    """One request's place inside; give it back exactly once, or hand it to `Gate.run`."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._held = gate, True
        self.since = time.monotonic()

    def leave(self) -> None:
        """Give it back; a second time does nothing."""
        with self._gate.lock:
            self._gate.inside -= self._held
            self._held = False


class Gate:
    """Places and workers.

    Args:
        workers: requests that are worked on at once.
        waiting: requests that may be inside beside those.
        seconds: from entering to the answer.
    """

    def __init__(self, workers: int, waiting: int, seconds: float) -> None:
        self.places, self.seconds = workers + waiting, seconds
        self.inside = 0
        self.lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="moso-serve")

    def enter(self) -> Place:
        """A place.

        Raises:
            BusyError: there is none.
        """
        with self.lock:
            if self.inside >= self.places:
                raise BusyError(f"{self.places} requests are inside already, as many as this service takes; try again")
            self.inside += 1
        return Place(self)

    async def run(
        self, place: Place, work: Callable[[Stop], R], gone: Callable[[], Awaitable[bool]] | None = None
    ) -> R:
        """What `work` returns; the place is given back when it has ended, whoever waits for it then.

        Args:
            place: from `enter`; its time runs since then.
            work: is done in a worker's thread.
            gone: whether the caller went away.

        Raises:
            LateError: it took too long.
            StoppedError: the caller went away.
        """
        stop = Stop()

        def begin() -> R:
            stop()
            return work(stop)

        future: Future[R] = self._pool.submit(begin)
        future.add_done_callback(lambda _: place.leave())
        waited = asyncio.wrap_future(future)
        waited.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # seen, whoever waits then
        try:
            while not future.done():
                left = place.since + self.seconds - time.monotonic()
                if left <= 0:
                    raise LateError(f"took longer than {self.seconds:g} s, the most a request may take; ask for less")
                if gone is not None and await gone():
                    raise StoppedError("the caller went away")
                await asyncio.wait([waited], timeout=min(LOOK_S, left))
            return future.result()
        finally:
            stop.set()
            future.cancel()

    def close(self) -> None:
        """Begin no more work; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
