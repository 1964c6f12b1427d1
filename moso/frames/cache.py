"""The frame cache (contract 4): uint8 shards that are memory-mapped, an index, checksums; actions and states beside.

    <folder>/index.json              size of the frames, the shards' files with sizes and sha256, the table's file
    <folder>/data.json               of the data set: licence, how it was split, what actions and states mean
    <folder>/episodes.<n>.parquet    episode_id, split, shard, first_frame, frames; covers the first <n> shards
    <folder>/shards/<shard:05d>/     frames.npy uint8 (n, H, W, 3), actions.npy float32 (n, A), states.npy
                                     float32 (n, S), shard.json (the index's part for this shard)

A shard appears whole, by a rename, and is never touched again: extending adds shards, a table, and replaces index.json.
Writing and reading need no torch. Opened caches may be read from any number of threads.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from jaxtyping import Float32, UInt8

from moso.errors import DataError, FormatError
from moso.frames.writer import FORMAT, INDEX, SHARDS, VERSION, FrameCacheWriter
from moso.provenance import digest_file, read_provenance

__all__ = ["FORMAT", "VERSION", "FrameCache", "FrameCacheWriter", "Place", "read_index"]


@dataclass(frozen=True)
class Place:
    """Where an episode lies: rows [first_frame, first_frame + frames) of a shard's arrays."""

    split: str
    shard: int
    first_frame: int
    frames: int


class FrameCache:
    """A cache opened for reading."""

    def __init__(self, folder: Path, index: dict[str, Any], episodes: pd.DataFrame) -> None:
        """Use `open`."""
        self.folder = folder
        self.index = index
        self.episodes = episodes
        self.height: int = index["height"]
        self.width: int = index["width"]
        self.fps: float = index["fps"]
        self._places = {
            str(e): Place(str(s), int(n), int(first), int(count))
            for e, s, n, first, count in episodes.itertuples(index=False, name=None)
        }
        self._arrays: dict[tuple[int, str], np.ndarray] = {}

    @classmethod
    def open(cls, folder: Path) -> FrameCache:
        """The cache in `folder`; every file's presence and size is checked, checksums by `verify`.

        Raises:
            FormatError: no cache, or one of another version.
            DataError: a file is missing or has another size than the index says.
        """
        index = read_index(folder)
        for name, entry in _files(index):
            path = folder / name
            size = path.stat().st_size if path.is_file() else None
            if size != entry["bytes"]:
                what = "is missing" if size is None else f"has {size} bytes, the index says {entry['bytes']}"
                raise DataError(f"{path} {what}; rerun the step 'preprocess'")
        return cls(folder, index, pq.read_table(folder / index["episodes"]["file"]).to_pandas())

    def verify(self) -> None:
        """Read every file and compare its sha256 with the index.

        Raises:
            DataError: a file's content is not what was written.
        """
        for name, entry in _files(self.index):
            if digest_file(self.folder / name) != entry["sha256"]:
                raise DataError(f"{self.folder / name} is damaged: its sha256 differs; rerun the step 'preprocess'")

    @functools.cached_property
    def digest(self) -> str:
        """The folder's digest, from its provenance.json.

        Raises:
            FormatError: the folder has none, as while it is being written.
        """
        digest: str = read_provenance(self.folder, format=FORMAT, version=VERSION)["digest"]
        return digest

    @functools.cached_property
    def data(self) -> dict[str, Any]:
        """What the step preprocess says of the data set (data.json); {} of a cache that was written by hand."""
        path = self.folder / "data.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def place(self, episode_id: str) -> Place:
        """Where an episode lies.

        Raises:
            DataError: the cache does not hold it.
        """
        try:
            return self._places[episode_id]
        except KeyError:
            raise DataError(f"{self.folder} holds no episode {episode_id!r}") from None

    def shard(self, number: int, name: str = "frames") -> np.ndarray:
        """A shard's whole array `name` ("frames", "actions", "states") as a read-only view of the memory map."""
        key = number, name
        array = self._arrays.get(key)
        if array is None:
            path = self.folder / SHARDS / f"{number:05d}" / f"{name}.npy"
            # A plain view: slicing np.memmap itself costs some microseconds a call.
            array = self._arrays[key] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        return array

    def forget(self) -> None:
        """Let go of the memory maps, whose pages count as this process's memory; views in use keep theirs."""
        self._arrays.clear()

    def frames(self, episode_id: str, first: int = 0, count: int | None = None) -> UInt8[np.ndarray, "n H W 3"]:
        """Frames [first, first + count) of an episode (to its end by default): uint8 [0, 255], a view, read-only.

        Raises:
            DataError: no such episode, or frames that it does not have.
        """
        return self._rows("frames", episode_id, first, count)

    def actions(self, episode_id: str, first: int = 0, count: int | None = None) -> Float32[np.ndarray, "n A"] | None:
        """The actions beside the same frames; None where the data set has none."""
        return self._rows("actions", episode_id, first, count) if self.index["actions"] else None

    def states(self, episode_id: str, first: int = 0, count: int | None = None) -> Float32[np.ndarray, "n S"] | None:
        """The states beside the same frames; None where the data set has none."""
        return self._rows("states", episode_id, first, count) if self.index["states"] else None

    def _rows(self, name: str, episode_id: str, first: int, count: int | None) -> np.ndarray:
        place = self.place(episode_id)
        end = place.frames if count is None else first + count
        if not 0 <= first <= end <= place.frames:
            raise DataError(f"{episode_id} has {place.frames} frames; [{first}, {end}) lies outside")
        return self.shard(place.shard, name)[place.first_frame + first : place.first_frame + end]


def read_index(folder: Path) -> dict[str, Any]:
    """The content of a cache's index.json.

    Raises:
        FormatError: there is none, or it is of another format or version.
    """
    path = folder / INDEX
    if not path.exists():
        raise FormatError(f"{folder}: no {INDEX}; this is no finished frame cache")
    index: dict[str, Any] = json.loads(path.read_text())
    found = index.get("format"), index.get("version")
    if found != (FORMAT, VERSION):
        raise FormatError(f"{path}: format {found[0]} version {found[1]}, this code reads {FORMAT} version {VERSION}")
    return index


def _files(index: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    files = [(index["episodes"]["file"], index["episodes"])]
    for number, shard in enumerate(index["shards"]):
        files += [(f"{SHARDS}/{number:05d}/{name}", entry) for name, entry in shard["files"].items()]
    return files
