"""preprocess: episodes -> the frame cache: decoded once, cropped, resized, in memory-mapped uint8 shards.

The output folder `frames` is a moso.frames.cache, and beside its index

    statistics.json                        moso.frames.statistics
    data.json                              what the data set is: licence, how it was split, what actions and states mean
    manifest.parquet, quarantine.parquet   as ingest wrote them

A shard is a function of the episodes in it and of what is done with them. It is written by one process, several side by
side, and kept in the work folder (as a hard link, where the file system has them): a stopped run goes on, and a data
set that has grown gets further shards, the earlier ones untouched.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.raw import raw_root
from moso.config import build, to_dict
from moso.datasets.episode import Episode, Rejected, Source, signals_sha256
from moso.datasets.manifest import Manifest
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec
from moso.disk import link_or_copy
from moso.errors import ConfigError, DataError, StopRequested
from moso.frames.cache import FORMAT, VERSION, FrameCache
from moso.frames.resize import crop_frames, resize_frames
from moso.frames.statistics import statistics
from moso.frames.writer import SHARDS, CacheSettings, ShardWriter, plan_shards, shard_folder, write_index
from moso.lock import hold
from moso.progress import Progress
from moso.provenance import (
    atomic_folder,
    digest_file,
    digest_json,
    package_digest,
    read_provenance,
    write_json,
    write_provenance,
)
from moso.step import Context, Paths
from moso.workers import work_through

EPISODES_FORMAT = "moso.episodes"
EPISODES_VERSION = 2
SHARD_COLUMNS = ("episode_id", "split", "sha256", "signals_sha256", "source")
COPIED = ("manifest.parquet", "quarantine.parquet")


@dataclass(frozen=True)
class Config:
    """Section `preprocess`.

    Attributes:
        height: pixels of the cache's frames; None keeps the raw frames' (after the spec's crop).
        width: likewise.
        shard_megabytes: frames in a shard, in 10^6 bytes.
    """

    height: int | None = None
    width: int | None = None
    shard_megabytes: int = 256

    def __post_init__(self) -> None:
        for name in ("height", "width", "shard_megabytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(name, value, "must be at least 1")
        if (self.height is None) != (self.width is None):
            raise ConfigError("width", self.width, f"must be given where height = {self.height} is, and only then")

    @property
    def shard_bytes(self) -> int:
        """`shard_megabytes` in bytes."""
        return self.shard_megabytes * 10**6


@dataclass(frozen=True)
class Shard:
    """One shard to be written.

    Attributes:
        number: its place in the cache.
        folder: where it is kept in the work folder; its name is the digest of all that it depends on.
        episodes: of each episode, in order, its id, split, the sha256 of its raw frames and of its actions and states,
            and the name of its source (SHARD_COLUMNS).
        sources: by name.
    """

    number: int
    folder: Path
    episodes: tuple[tuple[str, str, str, str, str], ...]
    sources: Mapping[str, Source]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Write the cache of every episode in the manifest.

    Raises:
        DataError: a raw file is not what it was when it was ingested, or the recordings do not fit together.
        StopRequested: the stop signal was raised.
    """
    episodes = inputs["episodes"]
    record = read_provenance(episodes, format=EPISODES_FORMAT, version=EPISODES_VERSION)
    spec = build(DatasetSpec, json.loads((episodes / "spec.json").read_text()), "spec")
    table = Manifest.read(episodes / "manifest.parquet").table
    if table.empty:
        raise DataError(f"{episodes}: the manifest holds no episodes")
    kept = episodes / "raw"  # of a simulated data set
    root = kept if kept.is_dir() else raw_root(spec, record["config"]["raw"], context.work.parent, context.stop).root
    settings = _settings(config, spec, table, root)

    store = context.work / spec.name
    store.mkdir(parents=True, exist_ok=True)
    with hold(store, "preprocessing"):
        shards = _shards(config, spec, table, settings, root, store)
        _write_missing(shards, settings, root, spec, context)
        with atomic_folder(outputs["frames"]) as folder:
            (folder / SHARDS).mkdir()
            for shard in shards:
                _copy(shard.folder, shard_folder(folder, shard.number))
            write_index(folder, settings)
            write_json(folder / "statistics.json", statistics(FrameCache.open(folder)))
            write_json(folder / "data.json", _data(spec, table, json.loads((episodes / "splits.json").read_text())))
            for name in COPIED:
                shutil.copyfile(episodes / name, folder / name)
            write_provenance(
                folder,
                format=FORMAT,
                version=VERSION,
                step="preprocess",
                config=config,
                inputs={"episodes": record["digest"]},
            )
        _prune(store, {shard.folder.name for shard in shards})


def _settings(config: Config, spec: DatasetSpec, table: pd.DataFrame, root: Path) -> CacheSettings:
    """What all shards share; refused where the recordings differ in what they must share."""
    sizes = table[["height", "width"]].drop_duplicates()
    if len(sizes) > 1 and config.height is None:
        several = ", ".join(f"{h} x {w}" for h, w in sizes.head(3).itertuples(index=False))
        raise ConfigError(
            "preprocess.height", None, f"the recordings have {len(sizes)} sizes ({several} …)", "set height and width"
        )
    if table["actions"].nunique() > 1:
        first = table.drop_duplicates("actions")
        several = ", ".join(f"{e} has {a}" for e, a in zip(first["episode_id"], first["actions"], strict=True))
        raise DataError(f"episodes have actions of several dimensions: {several}; leave one kind out of the data set")
    first = table.iloc[0]
    source = _sources(root, spec)[str(first["source"])]
    for record in reader(spec.format).read(root, source, spec, {first["episode_id"]}):
        if isinstance(record, Episode) and record.episode_id == first["episode_id"]:
            break
    else:
        raise DataError(f"{root / source.name}: {first['episode_id']} can no longer be read; ingest again")
    height, width = _cropped(int(first["height"]), int(first["width"]), spec)
    return CacheSettings(
        height=config.height or height,
        width=config.width or width,
        fps=spec.fps,
        actions=0 if record.actions is None else record.actions.shape[1],
        states=0 if record.states is None else record.states.shape[1],
    )


def _cropped(height: int, width: int, spec: DatasetSpec) -> tuple[int, int]:
    return (min(height, width),) * 2 if spec.crop == "center" else (height, width)


def _sources(root: Path, spec: DatasetSpec) -> dict[str, Source]:
    return {source.name: source for source in reader(spec.format).sources(root, spec)}


def _shards(
    config: Config, spec: DatasetSpec, table: pd.DataFrame, settings: CacheSettings, root: Path, store: Path
) -> list[Shard]:
    """The shards of the cache. A version of the manifest begins a shard, so that earlier ones stay as they are."""
    sources = _sources(root, spec)
    what = {name: getattr(spec, name) for name in ("format", "options", "crop", "resize")}
    same = {"settings": to_dict(settings), "code": _code(), **what}
    shards: list[Shard] = []
    for _, added in table.groupby("added_in", sort=True):
        rows = [
            (str(e), str(split), str(frames), str(signals), str(source))
            for e, split, frames, signals, source in added[list(SHARD_COLUMNS)].itertuples(index=False, name=None)
        ]
        for planned in plan_shards(added["frames"].tolist(), settings.frame_bytes, config.shard_bytes):
            episodes = tuple(rows[planned.start : planned.stop])
            missing = next((source for *_, source in episodes if source not in sources), None)
            if missing is not None:
                raise DataError(f"{root / missing} is no longer there; restore it, or ingest again")
            number = len(shards)
            key = digest_json({**same, "number": number, "episodes": [row[:4] for row in episodes]})[:24]
            needed = {source: sources[source] for *_, source in episodes}
            shards.append(Shard(number, store / key, episodes, needed))
    return shards


def _code() -> str:
    """Digest of the code that a shard's content depends on."""
    return digest_json([package_digest("datasets", "frames", "video"), digest_file(Path(__file__))])


def _is_whole(folder: Path) -> bool:
    """Whether a kept shard's files have the sizes that it says."""
    path = folder / "shard.json"
    if not path.exists():
        return False
    files = json.loads(path.read_text())["files"]
    return all((folder / n).is_file() and (folder / n).stat().st_size == f["bytes"] for n, f in files.items())


def _write_missing(
    shards: list[Shard], settings: CacheSettings, root: Path, spec: DatasetSpec, context: Context
) -> None:
    missing = [shard for shard in shards if not _is_whole(shard.folder)]
    for shard in missing:
        shutil.rmtree(shard.folder, ignore_errors=True)
    total = sum(len(shard.episodes) for shard in shards)
    there = total - sum(len(shard.episodes) for shard in missing)
    workers = min(context.workers, max(1, len(missing)))
    written = 0
    with Progress("preprocess", total, "episodes", done=there) as progress:
        task = functools.partial(write_shard, root, spec, settings)
        for episodes in work_through(task, missing, workers, stop=context.stop, where="preprocess"):
            written += 1
            progress.advance(episodes)
    if written < len(missing):
        raise StopRequested("whole shards are kept")


def write_shard(root: Path, spec: DatasetSpec, settings: CacheSettings, shard: Shard) -> int:
    """Decode, crop and resize the episodes of a shard into its folder; the number of them.

    Raises:
        DataError: an episode cannot be read any more, or its frames are not those that were ingested.
    """
    with ShardWriter(shard.folder, shard.number, settings) as writer:
        for episode, split, frames, signals in _episodes(root, spec, shard):
            hashed = hashlib.sha256()
            chunks = _converted(episode, spec, settings, hashed)
            writer.add(episode.episode_id, split, chunks, episode.actions, episode.states)
            if (hashed.hexdigest(), signals_sha256(episode.actions, episode.states)) != (frames, signals):
                raise DataError(
                    f"{root / episode.source}: {episode.episode_id} changed since it was ingested; ingest again, with "
                    "ingest.extend = false"
                )
    return len(shard.episodes)


def _converted(episode: Episode, spec: DatasetSpec, settings: CacheSettings, hashed: Any) -> Iterator[Any]:
    """Chunks as the cache holds them; the raw ones are added to `hashed`."""
    for chunk in episode.chunks():
        hashed.update(np.ascontiguousarray(chunk).data)
        yield resize_frames(crop_frames(chunk, spec.crop), settings.height, settings.width, spec.resize)


def _episodes(root: Path, spec: DatasetSpec, shard: Shard) -> Iterator[tuple[Episode, str, str, str]]:
    """The shard's episodes, in its order, with their split and the sha256 that frames, and signals, must have.

    A source that holds several neighbouring episodes is read once.
    """
    rows = pd.DataFrame(shard.episodes, columns=list(SHARD_COLUMNS))
    for name, group in rows.groupby("source", sort=False):
        wanted = {str(row[0]): row for row in group.itertuples(index=False, name=None)}
        order = iter(list(wanted))
        reasons = []
        for record in reader(spec.format).read(root, shard.sources[str(name)], spec, set(wanted)):
            if isinstance(record, Rejected):
                reasons.append(record.reason)
            elif row := wanted.pop(record.episode_id, None):
                if record.episode_id != next(order):
                    raise DataError(f"{root / str(name)}: its episodes have changed their order; ingest again")
                yield record, row[1], row[2], row[3]
        if wanted:
            why = f" ({'; '.join(reasons)})" if reasons else ""
            raise DataError(f"{root / str(name)}: {', '.join(wanted)} can no longer be read{why}; ingest again")


def _data(spec: DatasetSpec, table: pd.DataFrame, splits: Mapping[str, Any]) -> dict[str, Any]:
    sizes = table.groupby(["height", "width"]).size()
    return {
        "data_set": spec.name,
        "title": spec.title,
        "licence": spec.licence,
        "homepage": spec.homepage,
        "format": spec.format,
        "splits": dict(splits),
        "crop": spec.crop,
        "resize": spec.resize,
        "raw_sizes": [{"height": int(h), "width": int(w), "episodes": int(n)} for (h, w), n in sizes.items()],
        "actions": to_dict(spec.actions),
        "states": to_dict(spec.states),
        "paper": to_dict(spec.paper),
    }


def _copy(source: Path, target: Path) -> None:
    """A shard: neither side is ever written into."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        link_or_copy(path, target / path.name)


def _prune(store: Path, used: set[str]) -> None:
    """Drop shards that this cache does not have: the work folder holds one cache a data set, not its history."""
    for path in store.iterdir():
        if path.is_dir() and path.name not in used:
            shutil.rmtree(path)


if __name__ == "__main__":
    from components.main import main

    main("preprocess", Config, run)
