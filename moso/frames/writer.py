"""Writing and extending a frame cache (see moso.frames.cache for the layout).

A shard is written by one process, shards side by side by several. Memory is bounded by a chunk of an episode, whatever
the size of a shard: arrays grow on disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moso.errors import DataError, FormatError
from moso.provenance import digest_file, write_json

FORMAT = "moso.frames"
VERSION = 1
INDEX = "index.json"
SHARDS = "shards"
SHARD_BYTES = 256 * 10**6
EPISODES = pa.schema(
    [
        ("episode_id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.int64()),
        ("first_frame", pa.int64()),
        ("frames", pa.int64()),
    ]
)


class GrowingArray:
    """An .npy file that rows are appended to; its header is written again at the end.

    The .npy format pads the header so that the first axis may grow to any int64 in place.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], row: tuple[int, ...]) -> None:
        self.rows = 0
        self.dtype, self.row = dtype, row
        self._file = path.open("wb")
        self._header()
        self._start = self._file.tell()

    def append(self, values: np.ndarray) -> None:
        """Add rows."""
        assert (values.dtype, values.shape[1:]) == (self.dtype, self.row)
        self._file.write(np.ascontiguousarray(values).data)
        self.rows += len(values)

    def cut(self, rows: int) -> None:
        """Drop the rows from `rows` on."""
        self._file.flush()
        size = int(np.prod(self.row, dtype=np.int64)) * self.dtype.itemsize
        self._file.truncate(self._start + rows * size)
        self._file.seek(0, os.SEEK_END)
        self.rows = rows

    def close(self) -> None:
        """Complete the file on disk."""
        self._file.seek(0)
        self._header()
        if self._file.tell() != self._start:
            raise AssertionError("the .npy header changed its length")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self.row)}
        np.lib.format.write_array_header_1_0(self._file, header)


@dataclass(frozen=True)
class CacheSettings:
    """What all shards of a cache have in common.

    Attributes:
        height: pixels of every frame.
        width: pixels of every frame.
        fps: frames a second.
        actions: dimension of the actions; 0: none are kept.
        states: dimension of the states; 0: none are kept.
    """

    height: int
    width: int
    fps: float
    actions: int = 0
    states: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame."""
        return self.height * self.width * 3


def plan_shards(frames: Sequence[int], frame_bytes: int, shard_bytes: int = SHARD_BYTES) -> list[range]:
    """Which episodes go into which shard, in order: a shard ends before its frames would exceed `shard_bytes`.

    Args:
        frames: of each episode. A longer episode than fits has a shard for itself.
        frame_bytes: bytes of a frame.
        shard_bytes: of a shard, at most.

    Returns:
        For each shard the range of its episodes' positions in `frames`.
    """
    shards, first, size = [], 0, 0
    for i, count in enumerate(frames):
        if i > first and size + count * frame_bytes > shard_bytes:
            shards.append(range(first, i))
            first, size = i, 0
        size += count * frame_bytes
    return [*shards, range(first, len(frames))] if frames else []


class ShardWriter:
    """Writes one shard: into a hidden folder beside it, which becomes the shard by a rename.

    Use as a context manager: leaving it by an exception leaves nothing.
    """

    def __init__(self, folder: Path, number: int, settings: CacheSettings) -> None:
        """
        Args:
            folder: the shard's own; its parent must be there.
            number: the shard's place in the cache.
            settings: of the cache.
        """
        self.folder, self.number, self.settings = folder, number, settings
        self._partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir()
        rows: Sequence[tuple[str, tuple[int, ...], Any]] = (
            ("frames", (settings.height, settings.width, 3), np.uint8),
            ("actions", (settings.actions,), np.float32),
            ("states", (settings.states,), np.float32),
        )
        self._arrays = {
            name: GrowingArray(self._partial / f"{name}.npy", np.dtype(dtype), row)
            for name, row, dtype in rows
            if row != (0,)  # the cache keeps none
        }
        self._episodes: list[dict[str, Any]] = []

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    @property
    def frames(self) -> int:
        """Frames so far."""
        return self._arrays["frames"].rows

    def add(
        self,
        episode_id: str,
        split: str,
        chunks: Iterable[np.ndarray],
        actions: np.ndarray | None = None,
        states: np.ndarray | None = None,
    ) -> None:
        """Append an episode: chunks of its frames, uint8 [0, 255] (n, H, W, 3); actions (T, A), states (T, S) float32.

        An episode that turns out to be bad, also by an error that `chunks` raises, leaves the shard as it was.

        Raises:
            DataError: arrays of another shape or type than the cache's.
        """
        first = self.frames
        try:
            for chunk in chunks:
                self._check(episode_id, "frames", chunk, len(chunk))
                self._arrays["frames"].append(chunk)
            count = self.frames - first
            for name, values in (("actions", actions), ("states", states)):
                if name in self._arrays:
                    self._arrays[name].append(self._check(episode_id, name, values, count))
        except BaseException:
            for array in self._arrays.values():
                array.cut(min(first, array.rows))
            raise
        row = {"episode_id": episode_id, "split": split, "shard": self.number}
        self._episodes.append(row | {"first_frame": first, "frames": count})

    def close(self) -> dict[str, Any]:
        """Make the shard appear; its part of the index."""
        frames = self.frames
        for array in self._arrays.values():
            array.close()
        files = {f"{name}.npy": _described(self._partial / f"{name}.npy") for name in self._arrays}
        shard = {"settings": asdict(self.settings), "frames": frames, "files": files, "episodes": self._episodes}
        write_json(self._partial / "shard.json", shard)
        os.replace(self._partial, self.folder)
        return shard

    def abandon(self) -> None:
        """Leave nothing."""
        for array in self._arrays.values():
            array.abandon()
        shutil.rmtree(self._partial, ignore_errors=True)

    def _check(self, episode_id: str, name: str, values: np.ndarray | None, count: int) -> np.ndarray:
        array = self._arrays[name]
        if values is None or values.dtype != array.dtype or values.shape != (count, *array.row):
            found = "none" if values is None else f"{values.dtype} {values.shape}"
            raise DataError(f"{episode_id}: {name} are {found}, expected {array.dtype} {(count, *array.row)}")
        return values


class FrameCacheWriter:
    """Writes a cache in one process, extends one, or goes on with one whose writer was killed.

    Shards that the folder holds already stay as they are; `written` names their episodes, and new shards follow.
    Use as a context manager: leaving it writes the index; leaving it by an exception keeps whole shards and drops the
    unfinished one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        height: int,
        width: int,
        fps: float,
        actions: int = 0,
        states: int = 0,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        """
        Args:
            folder: made where it is missing.
            height, width, fps, actions, states: see CacheSettings.
            shard_bytes: a shard is closed before its frames would exceed this (a longer episode has one for itself).

        Raises:
            FormatError: the folder holds a cache of frames of another size, rate or dimension.
        """
        self.folder, self.shard_bytes = folder, shard_bytes
        self.settings = CacheSettings(height, width, fps, actions, states)
        (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        for partial in (folder / SHARDS).glob(".*.partial"):
            shutil.rmtree(partial)
        shards = read_shards(folder)
        for number, shard in enumerate(shards):
            if shard["settings"] != asdict(self.settings):
                raise FormatError(
                    f"{shard_folder(folder, number)}: written as {shard['settings']}, asked for {asdict(self.settings)}"
                )
        self.written = {str(e["episode_id"]) for shard in shards for e in shard["episodes"]}
        self._next = len(shards)
        self._shard: ShardWriter | None = None

    def __enter__(self) -> FrameCacheWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        elif self._shard:
            self._shard.abandon()

    def add(
        self,
        episode_id: str,
        split: str,
        frames: np.ndarray,
        actions: np.ndarray | None = None,
        states: np.ndarray | None = None,
    ) -> None:
        """Append an episode: frames uint8 [0, 255] (T, H, W, 3); actions (T, A), states (T, S) float32, where kept.

        Raises:
            DataError: an id that is there already, or arrays of another shape or type than the cache's.
        """
        if episode_id in self.written:
            raise DataError(f"{episode_id} is in the cache already")
        size = self.settings.frame_bytes
        if self._shard and (self._shard.frames + len(frames)) * size > self.shard_bytes and self._shard.frames:
            self._close_shard()
        if not self._shard:
            self._shard = ShardWriter(shard_folder(self.folder, self._next), self._next, self.settings)
        self._shard.add(episode_id, split, [frames], actions, states)
        self.written.add(episode_id)

    def close(self) -> None:
        """Finish the last shard and write the episodes' table and the index."""
        self._close_shard()
        write_index(self.folder, self.settings)

    def _close_shard(self) -> None:
        if not self._shard:
            return
        if self._shard.frames:
            self._shard.close()
            self._next += 1
        else:
            self._shard.abandon()
        self._shard = None


def shard_folder(folder: Path, number: int) -> Path:
    """Where a shard of the cache in `folder` lies."""
    return folder / SHARDS / f"{number:05d}"


def read_shards(folder: Path) -> list[dict[str, Any]]:
    """shard.json of every whole shard, from the first to the last before a gap."""
    shards: list[dict[str, Any]] = []
    while (path := shard_folder(folder, len(shards)) / "shard.json").exists():
        shards.append(json.loads(path.read_text()))
    return shards


def write_index(folder: Path, settings: CacheSettings) -> None:
    """Write the episodes' table and index.json of the shards in `folder`; the index last, by a rename."""
    shards = read_shards(folder)
    table = f"episodes.{len(shards)}.parquet"
    rows = [row for shard in shards for row in shard["episodes"]]
    pq.write_table(pa.Table.from_pylist(rows, schema=EPISODES), folder / table)
    index = {
        "format": FORMAT,
        "version": VERSION,
        **asdict(settings),
        "episodes": {"file": table, "rows": len(rows), **_described(folder / table)},
        "shards": [{"frames": shard["frames"], "files": shard["files"]} for shard in shards],
    }
    write_json(folder / INDEX, index)


def _described(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}
