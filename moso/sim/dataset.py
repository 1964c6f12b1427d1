"""Raw episodes on disk, as a recorder would leave them: one file a seed, and the settings they were made with.

    <folder>/simulation.json            settings, version of the simulator, versions of MuJoCo and NumPy
    <folder>/episodes/seed_000123.npz   frames uint8 (T, H, W, 3), actions float32 (T, 3), states float32 (T, 3)

An episode depends on its settings and seed alone, so workers and interruptions leave no trace: a file is there and
whole, or not there.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moso.config import to_dict
from moso.errors import ConfigError, FormatError, MismatchError, StopRequested
from moso.lock import hold
from moso.progress import Progress
from moso.provenance import write_json
from moso.sim.config import SimulationConfig
from moso.step import StopSignal
from moso.workers import available_cores, work_through

SIMULATOR_VERSION = 1  # raise it with every change that changes a picture, an action or a state
SETTINGS_FILE = "simulation.json"


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
    with hold(folder, "simulating"):
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
            task = functools.partial(_write_episode, config, episodes)
            for _ in work_through(task, missing, count, stop=stop, where=str(folder)):
                written += 1
                if bar:
                    bar.advance(config.frames)
    if written < len(missing):
        raise StopRequested(
            f"{folder}: stopped after {written} of {len(missing)} missing episodes; run it again to go on"
        )
    return written


def _write_episode(config: SimulationConfig, episodes: Path, seed: int) -> int:
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
