"""Work dealt to processes, one a core: simulating, reading and resizing recordings."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TypeVar

from moso.errors import MosoError
from moso.step import StopSignal

T = TypeVar("T")
R = TypeVar("R")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
IN_FLIGHT = 2  # items handed out for each worker: enough to keep it busy, few enough to stop soon


CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where a container (cgroup v2) finds its quota: "max", or microseconds of CPU time, a period of so many."""


def available_cores(quota: Path = CPU_QUOTA) -> int:
    """CPU cores this process may use: its affinity, bounded by the container's quota where there is one; 1 or more."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return count if share == "max" else max(1, min(count, round(int(share) / int(period))))
    except (OSError, ValueError):
        return count


def work_through(
    task: Callable[[T], R], items: Iterable[T], workers: int, *, stop: StopSignal | None = None, where: str = ""
) -> Iterator[R]:
    """Yield `task(item)` of each item as it is done, in any order; with one worker in this process and in order.

    Args:
        task: picklable, where workers > 1: a function of a module, or functools.partial of one.
        items: taken as workers become free, a few ahead.
        workers: processes.
        stop: once raised, items under way are finished and no more are begun.
        where: whose work it is, for the message about a worker that died.

    Raises:
        MosoError: a worker was killed. What a task raises is raised here.
    """
    if workers == 1:
        for item in items:
            if stop:
                return
            yield task(item)
        return
    # spawn: a fork would copy this process's threads' locks (torch, BLAS) in whatever state they are
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            yield from _hand_out(pool, task, items, workers * IN_FLIGHT, stop)
        except BrokenProcessPool:
            # The pool would end the others by SIGTERM, which they do not take, and wait for them for ever.
            for process in multiprocessing.active_children():
                process.kill()
            raise MosoError(
                f"{where}: a worker died (killed for want of memory?); what is written is whole: run it "
                "again to go on, with fewer workers"
            ) from None


def _hand_out(
    pool: ProcessPoolExecutor, task: Callable[[T], R], items: Iterable[T], in_flight: int, stop: StopSignal | None
) -> Iterator[R]:
    waiting = iter(items)
    running: set[Future[R]] = set()
    try:
        while True:
            room = 0 if stop else in_flight - len(running)
            with _signals_blocked():  # a task may start a worker, which inherits the mask
                running.update(pool.submit(task, item) for item in islice(waiting, room))
            if not running:
                return
            done, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in running:  # after an error, or where the caller stopped asking
            future.cancel()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile compute on one thread, unless the environment says another number.

    A worker a core, each with NumPy's threads on every core, wait for each other: five times slower on two cores
    (docs/performance.md). It stands in the environment, since a worker has imported NumPy before any code of ours runs.
    """
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keep SIGINT and SIGTERM waiting meanwhile; processes started here never get them.

    A stop (Ctrl-C, or a signal to the whole group) is the parent's to handle: it lets workers finish their items. A
    worker that set its own handlers would die of a stop that comes while it still starts.
    """
    resource_tracker.ensure_running()  # on starting, it unblocks both
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    # A worker whose parent was killed would wait for ever on the queue whose writing end it holds itself.
    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
