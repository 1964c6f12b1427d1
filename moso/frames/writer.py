"""Writing and extending a frame cache (see moso.frames.cache for the layout).

Memory is bounded by one episode, whatever the size of a shard: arrays grow on disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
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
        self._dtype, self._row = dtype, row
        self._file = path.open("wb")
        self._header()
        self._start = self._file.tell()

    def append(self, values: np.ndarray) -> None:
        """Add rows."""
        assert (values.dtype, values.shape[1:]) == (self._dtype, self._row)
        self._file.write(np.ascontiguousarray(values).data)
        self.rows += len(values)

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
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.rows, *self._row)}
        np.lib.format.write_array_header_1_0(self._file, header)


class FrameCacheWriter:
    """Writes a cache, extends one, or goes on with one whose writer was killed.

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
            height: pixels of every frame.
            width: pixels of every frame.
            fps: frames a second of every episode.
            actions: dimension of the actions; 0: none are kept.
            states: dimension of the states; 0: none are kept.
            shard_bytes: a shard is closed before its frames would exceed this (a longer episode has one for itself).

        Raises:
            FormatError: the folder holds a cache of frames of another size, rate or dimension.
        """
        self.folder, self.shard_bytes = folder, shard_bytes
        self._settings: dict[str, Any] = {
            "height": height, "width": width, "fps": fps, "actions": actions, "states": states,
        }  # fmt: skip
        (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        for partial in (folder / SHARDS).glob(".*.partial"):
            shutil.rmtree(partial)
        self._shards: list[dict[str, Any]] = []
        while (path := self._shard_folder(len(self._shards)) / "shard.json").exists():
            shard = json.loads(path.read_text())
            if shard["settings"] != self._settings:
                raise FormatError(f"{path.parent}: written as {shard['settings']}, asked for {self._settings}")
            self._shards.append(shard)
        self.written = {str(e["episode_id"]) for shard in self._shards for e in shard["episodes"]}
        self._arrays: dict[str, GrowingArray] = {}
        self._episodes: list[dict[str, Any]] = []

    def __enter__(self) -> FrameCacheWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            for array in self._arrays.values():
                array.abandon()
            shutil.rmtree(self._partial, ignore_errors=True)

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
        values = self._checked(episode_id, frames, actions, states)
        if self._arrays and (self._arrays["frames"].rows + len(frames)) * self._frame_bytes > self.shard_bytes:
            self._close_shard()
        if not self._arrays:
            self._partial.mkdir()
            for name, array in values.items():
                self._arrays[name] = GrowingArray(self._partial / f"{name}.npy", array.dtype, array.shape[1:])
        row = {"episode_id": episode_id, "split": split, "shard": len(self._shards)}
        self._episodes.append(row | {"first_frame": self._arrays["frames"].rows, "frames": len(frames)})
        for name, array in values.items():
            self._arrays[name].append(array)
        self.written.add(episode_id)

    def close(self) -> None:
        """Finish the last shard and write the episodes' table and the index; the index last, by a rename."""
        self._close_shard()
        table = f"episodes.{len(self._shards)}.parquet"
        rows = [row for shard in self._shards for row in shard["episodes"]]
        pq.write_table(pa.Table.from_pylist(rows, schema=EPISODES), self.folder / table)
        index = {
            "format": FORMAT,
            "version": VERSION,
            **self._settings,
            "episodes": {"file": table, "rows": len(rows), **_described(self.folder / table)},
            "shards": [{"frames": shard["frames"], "files": shard["files"]} for shard in self._shards],
        }
        write_json(self.folder / INDEX, index)

    @property
    def _frame_bytes(self) -> int:
        return int(self._settings["height"] * self._settings["width"] * 3)

    @property
    def _partial(self) -> Path:
        return self.folder / SHARDS / f".{len(self._shards):05d}.partial"

    def _shard_folder(self, number: int) -> Path:
        return self.folder / SHARDS / f"{number:05d}"

    def _checked(self, episode_id: str, *arrays: np.ndarray | None) -> dict[str, np.ndarray]:
        frames = arrays[0]
        assert frames is not None
        size = self._settings["height"], self._settings["width"], 3
        rows: Sequence[tuple[str, tuple[int, ...], Any]] = (
            ("frames", size, np.uint8),
            ("actions", (self._settings["actions"],), np.float32),
            ("states", (self._settings["states"],), np.float32),
        )
        values = {}
        for (name, row, dtype), array in zip(rows, arrays, strict=True):
            if row == (0,):
                continue  # the cache keeps none
            if array is None or array.dtype != dtype or array.shape != (len(frames), *row):
                found = "none" if array is None else f"{array.dtype} {array.shape}"
                raise DataError(f"{episode_id}: {name} are {found}, expected {np.dtype(dtype)} {(len(frames), *row)}")
            values[name] = array
        return values

    def _close_shard(self) -> None:
        if not self._arrays:
            return
        frames = self._arrays["frames"].rows
        for array in self._arrays.values():
            array.close()
        files = {f"{name}.npy": _described(self._partial / f"{name}.npy") for name in self._arrays}
        shard = {"settings": self._settings, "frames": frames, "files": files, "episodes": self._episodes}
        write_json(self._partial / "shard.json", shard)
        os.replace(self._partial, self._shard_folder(len(self._shards)))
        self._shards.append(shard)
        self._arrays, self._episodes = {}, []


def _described(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}
