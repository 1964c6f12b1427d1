"""Raw episodes on disk: bits, resuming, settings, stopping."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moso.errors import CheckpointError, ConfigError, FormatError, MismatchError, StopRequested
from moso.provenance import digest_folder
from moso.sim import ObjectsConfig, SimulationConfig, StrokesConfig, simulate
from moso.sim.episode import simulate_episode
from moso.step import StopSignal


def _simulate(config: SimulationConfig, seeds: range, folder: Path, workers: int = 1) -> int:
    return simulate(config, seeds, folder, workers=workers, progress=False)


def test_one_and_two_workers_write_the_same_bytes(tiny: SimulationConfig, tmp_path: Path) -> None:
    assert _simulate(tiny, range(5), tmp_path / "one", workers=1) == 5
    assert _simulate(tiny, range(5), tmp_path / "two", workers=2) == 5
    assert len(list((tmp_path / "two" / "episodes").iterdir())) == 5
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "two")


def test_files_hold_the_episode_without_pickles(tiny: SimulationConfig, tmp_path: Path) -> None:
    _simulate(tiny, range(7, 8), tmp_path)
    with np.load(tmp_path / "episodes" / "seed_000007.npz", allow_pickle=False) as file:
        assert sorted(file) == ["actions", "frames", "states"]
        episode = simulate_episode(tiny, 7)
        for name in file:
            assert np.array_equal(file[name], getattr(episode, name))
            assert file[name].dtype == getattr(episode, name).dtype


def test_a_second_run_writes_only_what_is_missing(tiny: SimulationConfig, tmp_path: Path) -> None:
    _simulate(tiny, range(3), tmp_path)
    digest = digest_folder(tmp_path)
    kept = tmp_path / "episodes" / "seed_000000.npz"
    before = kept.stat().st_mtime_ns
    (tmp_path / "episodes" / "seed_000001.npz").unlink()
    (tmp_path / "episodes" / ".seed_000001.npz.tmp").write_bytes(b"half an episode")
    assert _simulate(tiny, range(3), tmp_path) == 1
    assert digest_folder(tmp_path) == digest_folder(tmp_path) == digest
    assert kept.stat().st_mtime_ns == before
    assert _simulate(tiny, range(3), tmp_path) == 0


def test_other_settings_are_refused_by_name(tiny: SimulationConfig, tmp_path: Path) -> None:
    _simulate(tiny, range(1), tmp_path)
    other = replace(tiny, height=64, objects=ObjectsConfig(count=(2, 2)))
    with pytest.raises(MismatchError, match=r"height was 32, is 64; objects\.count was \[3, 5\], is \[2, 2\]"):
        _simulate(other, range(1, 2), tmp_path)
    assert len(list((tmp_path / "episodes").iterdir())) == 1


def test_another_simulator_or_mujoco_is_refused(tiny: SimulationConfig, tmp_path: Path) -> None:
    _simulate(tiny, range(1), tmp_path)
    path = tmp_path / "simulation.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"mujoco": "3.5.0", "simulator_version": 0}))
    with pytest.raises(MismatchError, match=r"mujoco was '3\.5\.0'.*simulator_version was 0"):
        _simulate(tiny, range(1), tmp_path)


def test_episodes_without_settings_are_refused(tiny: SimulationConfig, tmp_path: Path) -> None:
    _simulate(tiny, range(1), tmp_path)
    (tmp_path / "simulation.json").unlink()
    with pytest.raises(FormatError, match=r"no simulation\.json"):
        _simulate(tiny, range(1), tmp_path)


def test_a_folder_that_another_process_fills_is_refused(tiny: SimulationConfig, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another process"):
            _simulate(tiny, range(1), tmp_path)
    assert _simulate(tiny, range(1), tmp_path) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_raised_stop_signal_begins_no_episode(tiny: SimulationConfig, tmp_path: Path, workers: int) -> None:
    stop = StopSignal()
    stop.set()
    with pytest.raises(StopRequested, match="after 0 of 4"):
        simulate(tiny, range(4), tmp_path, workers=workers, progress=False, stop=stop)
    assert not list((tmp_path / "episodes").iterdir())


def _start_command(folder: Path, until: str = "episodes/seed_*.npz") -> subprocess.Popen[str]:
    """400 small episodes by two workers, in a process group of its own; returns once the first one is written."""
    code = "from moso.cli.simulate import command; command()"
    command = [sys.executable, "-c", code, "--out", str(folder), "--seeds", "0:400", "--workers", "2"]
    command += ["--set", "frames=4", "--set", "height=16", "--set", "width=16"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob(until)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


SMALL = SimulationConfig(frames=4, height=16, width=16)


def test_sigterm_stops_the_command_between_episodes_and_a_second_run_ends_it(tmp_path: Path) -> None:
    process = _start_command(tmp_path)
    os.killpg(process.pid, signal.SIGTERM)  # the workers get it too, as from a scheduler
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "StopRequested" in errors
    assert "run it again" in errors
    written = sorted(path.name for path in tmp_path.glob("episodes/*"))
    assert 0 < len(written) < 400
    assert all(name.startswith("seed_") for name in written)
    assert _simulate(SMALL, range(len(written) + 3), tmp_path) >= 3


def test_sigterm_while_workers_still_start_ends_the_command_too(tmp_path: Path) -> None:
    process = _start_command(tmp_path, until=".lock")  # held before the workers are begun
    while len(_children(process.pid)) < 3:  # the resource tracker and two workers
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "StopRequested" in errors


def test_a_worker_that_dies_is_told_and_what_is_written_is_kept(tmp_path: Path) -> None:
    process = _start_command(tmp_path)
    os.kill(_children(process.pid)[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "a worker died" in errors
    assert "run it again" in errors
    written = len(list(tmp_path.glob("episodes/seed_*.npz")))
    assert 0 < written < 400
    assert _simulate(SMALL, range(written), tmp_path) <= written


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_sigkill_leaves_whole_episodes_and_no_worker_behind(tmp_path: Path) -> None:
    process = _start_command(tmp_path)
    process.kill()  # the parent alone
    process.communicate(timeout=60)  # returns when the last holder of stderr, a worker, has ended
    written = sorted(tmp_path.glob("episodes/seed_*.npz"))
    assert 0 < len(written) < 400
    seeds = [int(path.stem.removeprefix("seed_")) for path in written]
    for seed, path in zip(seeds[-3:], written[-3:], strict=True):
        with np.load(path, allow_pickle=False) as file:
            assert np.array_equal(file["frames"], simulate_episode(SMALL, seed).frames)
    assert _simulate(SMALL, range(max(seeds) + 1), tmp_path) == max(seeds) + 1 - len(seeds)
    assert not list(tmp_path.glob("episodes/.*"))


@pytest.mark.parametrize("seeds", [range(-1, 1), range(999_999, 1_000_001)])
def test_seeds_out_of_range_are_refused(tiny: SimulationConfig, tmp_path: Path, seeds: range) -> None:
    with pytest.raises(ConfigError, match="six digits"):
        _simulate(tiny, seeds, tmp_path)


def test_settings_that_break_a_rule_are_refused_with_their_name() -> None:
    with pytest.raises(ConfigError, match="height = 4"):
        SimulationConfig(height=4)
    with pytest.raises(ConfigError, match="frames = "):
        StrokesConfig(frames=(18, 10))
    with pytest.raises(ConfigError, match="shapes = "):
        ObjectsConfig(shapes=())
