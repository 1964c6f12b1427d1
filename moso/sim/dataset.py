"""Raw episodes on disk, as a recorder would leave them: one file a seed, and the settings they were made with.

    <folder>/simulation.json            settings, version of the simulator, versions of MuJoCo and NumPy
    <folder>/episodes/seed_000123.npz   frames uint8 (T, H, W, 3), actions float32 (T, 3), states float32 (T, 3)

An episode depends on its settings and seed alone, so workers and interruptions leave no trace: a file is there and
whole, or not there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np

from moso.config import to_dict
from moso.errors import CheckpointError, ConfigError, FormatError, MismatchError, MosoError, StopRequested
from moso.progress import Progress
from moso.provenance import write_json
from moso.sim.config import SimulationConfig
from moso.step import StopSignal

SIMULATOR_VERSION = 1  # raise it with every change that changes a picture, an action or a state
SETTINGS_FILE = "simulation.json"
IN_FLIGHT = 2  # seeds handed out for each worker: enough to keep it busy, few enough to stop soon


def episode_id(seed: int) -> str:
    """123 -> 'seed_000123'."""
    return f"seed_{seed:06d}"


def simulate(
    config: SimulationConfig,
    seeds: Sequence[int],
    folder: Path,
    *,
    workers: int | None = None,
    progress: bool = True,
    stop: StopSignal | None = None,
) -> int:
    """Write the episodes of `seeds` into `folder`; those that are there already stay as they are.

    Args:
        config: the settings, the same for all episodes of a folder.
        seeds: in [0, 1000000); one episode each.
        folder: is made where it is missing.
        workers: processes; None takes one for each core that this process may use, 1 works in this process.
        progress: show a bar.
        stop: once raised, episodes under way are finished and no more are begun.

    Returns:
        The number of episodes written by this call.

    Raises:
        ConfigError: a seed or a number of workers out of range.
        MismatchError: the folder was written with other settings or by another version; the differences are named.
        CheckpointError: another process is writing into the folder.
        StopRequested: `stop` was raised before the last episode was written.
    """
    wanted = list(dict.fromkeys(int(s) for s in seeds))
    for seed in wanted:
        if not 0 <= seed < 1_000_000:
            raise ConfigError("seeds", seed, "must lie in [0, 1000000)", "the file names have six digits")
    if workers is not None and workers < 1:
        raise ConfigError("workers", workers, "must be 1 or more", "leave it out to use every core")
    episodes = folder / "episodes"
    episodes.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        _claim(folder, config)
        for leftover in episodes.glob(".*.tmp"):  # of a run that was killed; the lock says that nobody is writing them
            leftover.unlink()
        missing = [s for s in wanted if not (episodes / f"{episode_id(s)}.npz").exists()]
        count = min(workers or available_cores(), max(1, len(missing)))
        with contextlib.ExitStack() as stack:
            bar = None
            if progress:
                total, present = len(wanted) * config.frames, (len(wanted) - len(missing)) * config.frames
                bar = stack.enter_context(Progress("simulate", total, "frames", done=present))
            written = 0
            for _ in _run(config, missing, episodes, count, stop):
                written += 1
                if bar:
                    bar.advance(config.frames)
    if written < len(missing):
        raise StopRequested(
            f"{folder}: stopped after {written} of {len(missing)} missing episodes; run it again to go on"
        )
    return written


def available_cores() -> int:
    """The number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(
    config: SimulationConfig, seeds: Sequence[int], episodes: Path, workers: int, stop: StopSignal | None
) -> Iterator[int]:
    """Yield each seed once its episode is written; ends early on the stop signal."""
    if workers == 1:
        for seed in seeds:
            if stop:
                return
            yield _write_episode(config, seed, episodes)
        return
    # spawn: a fork would copy this process's threads' locks (torch, BLAS) in whatever state they are
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            yield from _hand_out(pool, config, seeds, episodes, workers * IN_FLIGHT, stop)
        except BrokenProcessPool:
            # The pool would end the others by SIGTERM, which they do not take, and wait for them for ever.
            for process in multiprocessing.active_children():
                process.kill()
            raise MosoError(
                f"{episodes.parent}: a worker died (killed for want of memory?); what is written is whole: run it "
                "again to go on, with fewer workers"
            ) from None


def _hand_out(
    pool: ProcessPoolExecutor,
    config: SimulationConfig,
    seeds: Sequence[int],
    episodes: Path,
    in_flight: int,
    stop: StopSignal | None,
) -> Iterator[int]:
    waiting = iter(seeds)
    running: set[Future[int]] = set()
    while True:
        room = 0 if stop else in_flight - len(running)
        with _signals_blocked():  # a task may start a worker, which inherits the mask
            running.update(pool.submit(_write_episode, config, seed, episodes) for seed in islice(waiting, room))
        if not running:
            return
        done, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keep SIGINT and SIGTERM waiting meanwhile; processes started here never get them.

    A stop (Ctrl-C, or a signal to the whole group) is the parent's to handle: it lets workers finish their episodes. A
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


def _write_episode(config: SimulationConfig, seed: int, episodes: Path) -> int:
    from moso.sim.episode import simulate_episode  # here, so that reading settings needs no MuJoCo

    episode = simulate_episode(config, seed)
    path = episodes / f"{episode_id(seed)}.npz"
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, frames=episode.frames, actions=episode.actions, states=episode.states)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return seed


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for writing; the system lets go of it when this process ends, however it ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"{folder}: another process is simulating into this folder; wait for it or stop it"
            ) from None
        yield


def _claim(folder: Path, config: SimulationConfig) -> None:
    """Write the folder's settings where there are none, else refuse other ones than those it was written with."""
    import mujoco

    record = {
        "simulator_version": SIMULATOR_VERSION,
        "mujoco": mujoco.__version__,  # another version renders other bits
        "settings": json.loads(json.dumps(to_dict(config))),
    }
    path = folder / SETTINGS_FILE
    if not path.exists():
        if any((folder / "episodes").glob("seed_*.npz")):
            raise FormatError(f"{folder}: holds episodes but no {SETTINGS_FILE}; simulate into an empty folder")
        write_json(path, {**record, "numpy": np.__version__})
        return
    there = json.loads(path.read_text())
    differences = list(_differences({k: there.get(k) for k in record}, record))
    if differences:
        raise MismatchError(
            f"{folder}: was written with other settings ({'; '.join(differences)}); choose another folder"
        )


def _differences(there: Any, here: Any, at: str = "") -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in sorted(set(there) | set(here)):
            yield from _differences(there.get(key), here.get(key), f"{at}.{key}" if at else key)
    elif there != here:
        yield f"{at.removeprefix('settings.')} was {there!r}, is {here!r}"
