"""preprocess: episodes -> the frame cache: decoded once, cropped, resized, in memory-mapped uint8 shards.

The output folder `frames` is a moso.frames.cache with statistics.json (moso.frames.statistics) beside the index.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from moso.config import build
from moso.datasets.episode import Episode, Rejected, frames_sha256
from moso.datasets.manifest import Manifest
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec
from moso.errors import ConfigError, DataError, StopRequested
from moso.frames.cache import FORMAT, VERSION, FrameCache, FrameCacheWriter
from moso.frames.resize import crop_frames, resize_frames
from moso.frames.statistics import statistics
from moso.progress import Progress
from moso.provenance import (
    atomic_folder,
    code_digest,
    digest_file,
    digest_json,
    read_provenance,
    write_json,
    write_provenance,
)
from moso.step import Context, Paths

EPISODES_FORMAT = "moso.episodes"
EPISODES_VERSION = 1


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


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Write the cache of every episode in the manifest.

    Whole shards are kept in the work folder, so that a killed run goes on; the output appears when all is written.

    Raises:
        DataError: a raw file is not what it was when it was ingested.
        StopRequested: the stop signal was raised.
    """
    episodes = inputs["episodes"]
    record = read_provenance(episodes, format=EPISODES_FORMAT, version=EPISODES_VERSION)
    digest = record["digest"]
    code = {"code": code_digest(), "step_code": digest_file(Path(__file__))}
    key = digest_json({"config": config, "episodes": digest, **code})[:16]
    staging = context.work / key
    staging.mkdir(parents=True, exist_ok=True)

    _write_shards(config, episodes, _raw_root(episodes, record["config"]), staging, context)
    write_json(staging / "statistics.json", statistics(FrameCache.open(staging)))

    with atomic_folder(outputs["frames"]) as folder:
        for path in sorted(staging.iterdir()):
            shutil.move(path, folder / path.name)
        write_provenance(
            folder, format=FORMAT, version=VERSION, step="preprocess", config=config, inputs={"episodes": digest}
        )
    staging.rmdir()


def _raw_root(episodes: Path, ingested: Mapping[str, Any]) -> Path:
    """Where ingest read the raw files: kept with the episodes, or the folder that its config names.

    The folder's path is looked up in the provenance, so that it is no part of the episodes' digest.
    """
    kept = episodes / "raw"
    return kept if kept.is_dir() else Path(ingested["raw"] or ingested["spec"]["source"]["path"])


def _write_shards(config: Config, folder: Path, root: Path, staging: Path, context: Context) -> None:
    spec = build(DatasetSpec, json.loads((folder / "spec.json").read_text()), "spec")
    table = Manifest.read(folder / "manifest.parquet").table
    if table.empty:
        raise DataError(f"{folder}: the manifest holds no episodes")

    first = next(_episodes(root, spec, table.head(1)))
    height, width = crop_frames(first.frames, spec.crop).shape[1:3]
    height, width = config.height or height, config.width or width
    with (
        FrameCacheWriter(
            staging,
            height=height,
            width=width,
            fps=spec.fps,
            actions=0 if first.actions is None else first.actions.shape[1],
            states=0 if first.states is None else first.states.shape[1],
            shard_bytes=config.shard_bytes,
        ) as writer,
        Progress("preprocess", len(table), "episodes", done=len(writer.written)) as progress,
    ):
        splits = dict(zip(table["episode_id"], table["split"], strict=True))
        for episode in _episodes(root, spec, table[~table["episode_id"].isin(writer.written)]):
            frames = resize_frames(crop_frames(episode.frames, spec.crop), height, width)
            writer.add(episode.episode_id, splits[episode.episode_id], frames, episode.actions, episode.states)
            progress.advance()
            if context.stop:
                raise StopRequested("whole shards are kept")


def _episodes(root: Path, spec: DatasetSpec, table: pd.DataFrame) -> Iterator[Episode]:
    """The manifest's episodes, decoded, in its order (a file that holds several is read once).

    Raises:
        DataError: an episode cannot be read any more, or its frames are not those that were ingested.
    """
    read = reader(spec.format).read
    for source, rows in table.groupby("source", sort=False):
        wanted = dict(zip(rows["episode_id"], rows["sha256"], strict=True))
        reasons = []
        for record in read(root, str(source), spec):
            if isinstance(record, Rejected):
                reasons.append(record.reason)
            elif sha256 := wanted.pop(record.episode_id, None):
                if frames_sha256(record.frames) != sha256:
                    raise DataError(f"{root / source}: {record.episode_id} changed since it was ingested; ingest again")
                yield record
        if wanted:
            why = f" ({'; '.join(reasons)})" if reasons else ""
            raise DataError(f"{root / source}: {', '.join(wanted)} can no longer be read{why}; ingest again")


if __name__ == "__main__":
    from components.main import main

    main("preprocess", Config, run)
