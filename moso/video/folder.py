"""Thousands of videos into a folder as they are made; a stopped run goes on where it was.

    <folder>/videos.json     what made them: another model, seed or setting does not get mixed in
    <folder>/000000.mp4 …    a file a video, or
    <folder>/000000.npy …    uint8 (n, T, H, W, 3), n = `SHARD` videos a file, named by the first one's number

Legend: T frames, H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from moso.errors import ConfigError, DataError, MismatchError
from moso.provenance import write_json
from moso.video.writing import write, write_array

SHARD = 32
FILE = "videos.json"
SUFFIXES = (".mp4", ".npy")
Make = Callable[[int, int], Iterable[np.ndarray]]


class VideoFolder:
    """A folder that is filled shard by shard.

    Args:
        folder: made where it is missing.
        identity: plain data, all that the videos depend on beside their number.
        suffix: ".mp4" or ".npy".
        fps: frames per second of .mp4.

    Raises:
        ConfigError: another suffix.
        DataError: files lie there that no VideoFolder wrote, or the file system refuses the folder.
        MismatchError: the folder holds videos made otherwise; the first difference is named.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], suffix: str, fps: float) -> None:
        if suffix not in SUFFIXES:
            raise ConfigError("format", suffix, "is no format for a folder of videos", f"known: {', '.join(SUFFIXES)}")
        self.folder, self.suffix, self.fps = folder, suffix, fps
        record = {**identity, "suffix": suffix, "fps": fps if suffix == ".mp4" else None, "shard": SHARD}
        path = folder / FILE
        if path.exists():
            _require_equal(folder, json.loads(path.read_text()), json.loads(json.dumps(record)))
            return
        if folder.is_dir() and any(folder.iterdir()):
            raise DataError(f"{folder}: holds files and no {FILE}; give an empty or a new folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(path, record)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from None

    def missing(self, count: int) -> list[int]:
        """The numbers of the videos below `count` that are not there."""
        return [number for shard in _shards(count) for number in self._missing(shard)]

    def fill(self, count: int, make: Make, on_progress: Callable[[int], None] | None = None) -> int:
        """Write the missing ones of videos 0 … `count` - 1.

        Args:
            count: of videos.
            make: (first, n) -> batches, uint8 (., T, H, W, 3), of videos first … first + n - 1. It is called for whole
                shards, so that each video is made in the same company as in a run that was not stopped.
            on_progress: called with the number of missing videos in each batch when it is made.

        Returns:
            How many videos were missing and are written. Those that were there and had to be made again, for the sake
            of the company, do not count.
        """
        written = 0
        for shard in _shards(count):
            missing = self._missing(shard)
            if not missing:
                continue
            batches: list[np.ndarray] = []
            first = shard.start
            for batch in make(shard.start, len(shard)):
                batches.append(batch)
                made = range(first, first + len(batch))
                first = made.stop
                if on_progress is not None:
                    on_progress(sum(number in made for number in missing))
            self._write(shard, np.concatenate(batches))
            written += len(missing)
        return written

    def _write(self, shard: range, clips: UInt8[np.ndarray, "n T H W 3"]) -> None:
        if self.suffix == ".npy":
            write_array(self._file(shard.start), clips)
            return
        for number, clip in zip(shard, clips, strict=True):
            if not self._file(number).exists():
                write(self._file(number), clip[None], self.fps)

    def _missing(self, shard: range) -> list[int]:
        if self.suffix == ".mp4":
            return [number for number in shard if not self._file(number).exists()]
        try:
            rows = len(np.load(self._file(shard.start), mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError):
            rows = 0
        return list(shard[rows:])

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}{self.suffix}"


def _shards(count: int) -> list[range]:
    return [range(first, min(first + SHARD, count)) for first in range(0, count, SHARD)]


def _require_equal(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            raise MismatchError(
                f"{folder}: its videos were made with {key} = {found.get(key)!r}, now it is {wanted.get(key)!r}; "
                "give another folder"
            )
