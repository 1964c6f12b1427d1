"""preprocess on episodes that the step ingest made of hand-written raw files (a folder source, so no simulator)."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.ingest import step as ingest
from components.preprocess.step import Config, run
from moso.config import build, load_yaml
from moso.errors import ConfigError, DataError, FormatError, StopRequested
from moso.frames.cache import FrameCache
from moso.frames.statistics import statistics
from moso.provenance import read_provenance, write_json
from moso.step import Context, StopSignal

ROOT = Path(__file__).parents[2]
SPEC = load_yaml(ROOT / "data" / "specs" / "sim_push.yaml")
SEEDS = (0, 1, 2, 100000, 200000, 200001)
LENGTH, SIDE = 4, 8


@pytest.fixture
def raw(tmp_path: Path) -> dict[int, dict[str, np.ndarray]]:
    """Raw files on disk, and the same arrays by seed."""
    (tmp_path / "raw" / "episodes").mkdir(parents=True)
    videos = {}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        videos[seed] = {
            "frames": rng.integers(0, 256, (LENGTH, SIDE, SIDE, 3), dtype=np.uint8),
            "actions": rng.normal(size=(LENGTH, 3)).astype(np.float32),
            "states": rng.normal(size=(LENGTH, 3)).astype(np.float32),
        }
        np.savez_compressed(tmp_path / "raw" / "episodes" / f"seed_{seed:06d}.npz", **videos[seed])
    return videos


@pytest.fixture
def episodes(tmp_path: Path, raw: dict[int, dict[str, np.ndarray]]) -> Path:
    spec = {**SPEC, "source": {"kind": "folder", "path": str(tmp_path / "raw")}}
    config = build(ingest.Config, {"spec": spec}, "ingest")
    ingest.run(config, {}, {"episodes": tmp_path / "episodes"}, Context(work=tmp_path / "work_ingest"))
    return tmp_path / "episodes"


@pytest.fixture
def preprocess(tmp_path: Path, episodes: Path) -> Callable[..., Path]:
    """preprocess(out, stop, **settings) -> the output folder."""

    def call(
        out: str = "frames", stop: StopSignal | None = None, work: str = "work", workers: int = 1, **settings: Any
    ) -> Path:
        stop = StopSignal() if stop is None else stop
        context = Context(work=tmp_path / work / "preprocess", stop=stop, workers=workers)
        run(build(Config, settings, "preprocess"), {"episodes": episodes}, {"frames": tmp_path / out}, context)
        return tmp_path / out

    return call


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class StopAfter(StopSignal):
    """Raised from the n-th question on."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self.left = questions

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def test_the_cache_holds_the_raw_frames_actions_and_states(
    raw: dict[int, dict[str, np.ndarray]], episodes: Path, preprocess: Callable[..., Path]
) -> None:
    folder = preprocess()
    cache = FrameCache.open(folder)
    cache.verify()
    assert (cache.height, cache.width, cache.fps) == (SIDE, SIDE, 10.0)
    assert list(cache.episodes["split"]) == ["train"] * 3 + ["validation"] + ["test"] * 2
    for seed, arrays in raw.items():
        name = f"seed_{seed:06d}"
        assert np.array_equal(cache.frames(name), arrays["frames"])
        assert np.array_equal(cache.actions(name), arrays["actions"])  # type: ignore[arg-type]
        assert np.array_equal(cache.states(name), arrays["states"])  # type: ignore[arg-type]
    assert json.loads((folder / "statistics.json").read_text()) == statistics(cache)
    record = read_provenance(folder, format="moso.frames", version=1)
    assert record["inputs"] == {"episodes": read_provenance(episodes)["digest"]}
    assert cache.digest == record["digest"]


def test_the_raw_files_that_ingest_kept_are_read_without_the_folder_they_came_from(
    tmp_path: Path, raw: dict[int, dict[str, np.ndarray]]
) -> None:
    write_json(tmp_path / "raw" / "simulation.json", {"settings": {"frames": LENGTH, "fps": 10.0}})
    config = build(
        ingest.Config,
        {"spec": SPEC, "raw": str(tmp_path / "raw"), "episodes": {"train": 3, "validation": 1, "test": 2}},
    )
    ingest.run(config, {}, {"episodes": tmp_path / "kept"}, Context(work=tmp_path / "work"))
    shutil.rmtree(tmp_path / "raw")
    run(Config(), {"episodes": tmp_path / "kept"}, {"frames": tmp_path / "frames"}, Context(work=tmp_path / "work"))
    cache = FrameCache.open(tmp_path / "frames")
    assert np.array_equal(cache.frames("seed_200001"), raw[200001]["frames"])


def test_frames_are_resized_and_actions_kept(
    raw: dict[int, dict[str, np.ndarray]], preprocess: Callable[..., Path]
) -> None:
    cache = FrameCache.open(preprocess(height=4, width=2))
    assert cache.frames("seed_000001").shape == (LENGTH, 4, 2, 3)
    assert np.array_equal(cache.actions("seed_000001"), raw[1]["actions"])  # type: ignore[arg-type]
    means = raw[1]["frames"].mean(axis=(1, 2))
    assert np.abs(cache.frames("seed_000001").mean(axis=(1, 2)) - means).max() < 20


def test_a_stopped_run_keeps_whole_shards_and_goes_on_to_the_same_bytes(
    tmp_path: Path, preprocess: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two episodes a shard: the smallest setting is a megabyte, so the unit is made smaller instead.
    monkeypatch.setattr(Config, "shard_bytes", 2 * LENGTH * SIDE * SIDE * 3)
    whole = content(preprocess("whole"))
    assert sum(name.endswith("frames.npy") for name in whole) == 3
    for whole_shards in (0, 1, 2):
        out = work = f"stopped_{whole_shards}"
        with pytest.raises(StopRequested):
            preprocess(out, StopAfter(whole_shards + 1), work=work + "_work")
        assert not (tmp_path / out).exists()
        shards = list((tmp_path / f"{work}_work").rglob("shard.json"))
        assert len(shards) == whole_shards
        before = {path.stat().st_ino for path in shards}
        moved = content(preprocess(out, work=work + "_work"))
        assert before <= {path.stat().st_ino for path in (tmp_path / out).rglob("shard.json")}
        assert {k: v for k, v in moved.items() if k != "provenance.json"} == {
            k: v for k, v in whole.items() if k != "provenance.json"
        }
        assert read_provenance(tmp_path / out)["digest"] == read_provenance(tmp_path / "whole")["digest"]


def test_several_workers_write_the_same_bytes(preprocess: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Config, "shard_bytes", 2 * LENGTH * SIDE * SIDE * 3)
    one, two = (content(preprocess(f"by_{n}", work=f"work_{n}", workers=n, height=4, width=4)) for n in (1, 2))
    assert one == two


def test_a_data_set_that_has_grown_gets_further_shards_and_the_earlier_ones_stay_untouched(
    tmp_path: Path, raw: dict[int, dict[str, np.ndarray]], episodes: Path, preprocess: Callable[..., Path]
) -> None:
    first = preprocess("first")
    (shard,) = (first / "shards").iterdir()
    before = (shard / "frames.npy").stat().st_ino, (shard / "frames.npy").read_bytes()
    shutil.rmtree(first)  # as DVC does before it runs a stage again
    np.savez_compressed(tmp_path / "raw" / "episodes" / "seed_000003.npz", **{k: v[::-1] for k, v in raw[1].items()})
    spec = {**SPEC, "source": {"kind": "folder", "path": str(tmp_path / "raw")}}
    config = build(ingest.Config, {"spec": spec}, "ingest")
    ingest.run(config, {}, {"episodes": episodes}, Context(work=tmp_path / "work_ingest"))
    cache = FrameCache.open(preprocess("second"))
    cache.verify()
    old = tmp_path / "second" / "shards" / "00000" / "frames.npy"
    assert (old.stat().st_ino, old.read_bytes()) == before
    assert list(cache.episodes["shard"]) == [0] * 6 + [1]
    assert np.array_equal(cache.frames("seed_000003"), raw[1]["frames"][::-1])


def test_corrected_actions_reach_the_cache_and_a_damaged_shard_is_written_again(
    tmp_path: Path, raw: dict[int, dict[str, np.ndarray]], episodes: Path, preprocess: Callable[..., Path]
) -> None:
    preprocess("first")
    path = tmp_path / "raw" / "episodes" / "seed_000001.npz"
    np.savez_compressed(path, **{**raw[1], "actions": raw[1]["actions"] + 1000})
    (shard,) = (p.parent for p in (tmp_path / "work").rglob("shard.json"))
    (shard / "frames.npy").write_bytes(b"")  # half a shard is none: it is written again, and the change is seen
    with pytest.raises(DataError, match="seed_000001 changed since it was ingested"):
        preprocess("second")
    spec = {**SPEC, "source": {"kind": "folder", "path": str(tmp_path / "raw")}}
    config = build(ingest.Config, {"spec": spec, "extend": False}, "ingest")
    ingest.run(config, {}, {"episodes": episodes}, Context(work=tmp_path / "work_ingest"))
    cache = FrameCache.open(preprocess("third"))
    assert np.array_equal(cache.actions("seed_000001"), raw[1]["actions"] + 1000)  # type: ignore[arg-type]


def test_what_the_data_is_travels_with_the_frames(episodes: Path, preprocess: Callable[..., Path]) -> None:
    folder = preprocess(height=4, width=4)
    data = json.loads((folder / "data.json").read_text())
    assert data["splits"] == {"rule": "id_ranges", **{k: SPEC["splits"][k] for k in ("train", "validation", "test")}}
    assert data["actions"]["units"] == ["m", "m", "m"]
    assert data["actions"]["meaning"] == "delta"
    assert data["raw_sizes"] == [{"height": SIDE, "width": SIDE, "episodes": len(SEEDS)}]
    for name in ("manifest.parquet", "quarantine.parquet"):
        assert (folder / name).read_bytes() == (episodes / name).read_bytes()


def test_recordings_of_several_sizes_need_a_size(
    tmp_path: Path, raw: dict[int, dict[str, np.ndarray]], preprocess: Callable[..., Path], episodes: Path
) -> None:
    path = tmp_path / "raw" / "episodes" / "seed_000003.npz"
    np.savez_compressed(path, **{**raw[1], "frames": raw[1]["frames"][:, :4] + 1})
    spec = {**SPEC, "source": {"kind": "folder", "path": str(tmp_path / "raw")}}
    config = build(ingest.Config, {"spec": spec}, "ingest")
    ingest.run(config, {}, {"episodes": episodes}, Context(work=tmp_path / "work_ingest"))
    with pytest.raises(ConfigError, match="2 sizes"):
        preprocess()
    assert FrameCache.open(preprocess(height=4, width=4)).height == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from components.preprocess.step import Config, run
from moso.step import Context

work, episodes, out = map(Path, sys.argv[1:4])
shard_bytes, moment = map(int, sys.argv[4:])
Config.shard_bytes = shard_bytes
renames = 0

def dying(rename):
    def call(*paths, **options):
        global renames
        renames += 1
        if renames == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(*paths, **options)
    return call

os.replace, os.rename = dying(os.replace), dying(os.rename)
run(Config(), {"episodes": episodes}, {"frames": out}, Context(work=work))
"""


def test_a_run_killed_between_two_shards_and_while_it_delivers_goes_on_to_the_same_digest(
    tmp_path: Path, episodes: Path, preprocess: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is renamed into place: shard.json and the shard, three times; index.json; statistics.json; then what is
    # delivered, entry by entry. The fourth rename is the second shard's; the second run is left with four fewer.
    shard_bytes = 2 * LENGTH * SIDE * SIDE * 3
    monkeypatch.setattr(Config, "shard_bytes", shard_bytes)
    digest = read_provenance(preprocess("whole"))["digest"]
    work, out = tmp_path / "work_killed", tmp_path / "killed"
    arguments = [sys.executable, "-c", KILLED, *map(str, (work, episodes, out, shard_bytes))]
    for moment in (4, 8):
        killed = subprocess.run([*arguments, str(moment)], cwd=ROOT, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not out.exists()
        assert (tmp_path / ".killed.partial").exists() == (moment == 8)
        assert moment == 8 or len(list(work.rglob("shard.json"))) == 2  # one whole, one not yet in its place
    run(Config(), {"episodes": episodes}, {"frames": out}, Context(work=work))
    assert read_provenance(out)["digest"] == digest
    FrameCache.open(out).verify()
    assert not (tmp_path / ".killed.partial").exists()


def test_raw_files_that_changed_since_ingest_are_refused(
    tmp_path: Path, raw: dict[int, dict[str, np.ndarray]], preprocess: Callable[..., Path]
) -> None:
    path = tmp_path / "raw" / "episodes" / "seed_000001.npz"
    np.savez_compressed(path, **{**raw[1], "frames": raw[1]["frames"] ^ 1})
    with pytest.raises(DataError, match="seed_000001 changed since it was ingested"):
        preprocess()
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"seed_000001 can no longer be read \(the file is empty\)"):
        preprocess()
    assert not (tmp_path / "frames").exists()


def test_another_version_of_the_episodes_is_refused_by_name(episodes: Path, preprocess: Callable[..., Path]) -> None:
    record = read_provenance(episodes)
    write_json(episodes / "provenance.json", {**record, "format_version": 1})
    with pytest.raises(FormatError, match=r"version 1 of moso\.episodes.*rerun the step 'ingest'"):
        preprocess()


def test_an_old_output_is_replaced_only_by_a_whole_new_one(tmp_path: Path, preprocess: Callable[..., Path]) -> None:
    before = content(preprocess())
    with pytest.raises(StopRequested):
        preprocess(height=4, width=4, stop=StopAfter(1))
    assert content(tmp_path / "frames") == before
    assert FrameCache.open(preprocess(height=4, width=4)).height == 4


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"height": 0, "width": 4}, "height"), ({"height": 4}, "width"), ({"shard_megabytes": 0}, "shard_megabytes")],
)
def test_a_setting_that_breaks_a_rule_is_refused(settings: dict[str, int], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Config, settings, "preprocess")
    assert caught.value.field == f"preprocess.{field}"
