"""Any folder of video files: what FFmpeg reads, in any folders below the root.

An optional splits.csv in the root (columns path and split; paths relative to the root) says which video is for what,
with split rule "recorded"; without it the spec's own rule does, by a hash as a rule.

An episode is a file, named by its path below the root: `kitchen/take1.mp4`. It is its own recording.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.readers.files import (
    SPLITS_CSV,
    digest_or_none,
    fps_of,
    refuse_unused_splits,
    splits_csv,
    video_chunks,
    walk,
    without,
)
from moso.datasets.readers.options import options_of
from moso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec


@dataclass(frozen=True)
class Options:
    """What a spec's `options` may say.

    Attributes:
        suffixes: of the files that are videos, in lower case; others are passed over.
    """

    suffixes: tuple[str, ...] = (
        ".mp4",
        ".m4v",
        ".mov",
        ".avi",
        ".mkv",
        ".webm",
        ".mpg",
        ".mpeg",
        ".ts",
        ".flv",
        ".wmv",
        ".ogv",
    )

    def __post_init__(self) -> None:
        if not self.suffixes or any(not s.startswith(".") or s != s.lower() for s in self.suffixes):
            raise ConfigError("suffixes", list(self.suffixes), "must begin with '.' and be in lower case", "'.mp4'")


def sources(root: Path, spec: DatasetSpec) -> list[Source]:
    """The video files in natural order, and those that splits.csv names and are missing.

    Raises:
        DataError: no video, or a splits.csv that cannot be read or does not go with the spec's rule.
    """
    suffixes = options_of(spec, Options).suffixes
    found = [(below / f).as_posix() for below, files in walk(root) for f in files if f.lower().endswith(suffixes)]
    if not found:
        raise DataError(f"{root}: no video below it ({', '.join(suffixes)})")
    refuse_unused_splits(root, spec.splits.rule)
    listed = splits_csv(root)
    there = set(found)
    found += [name for name in listed or () if name not in there]
    return [Source(name) for name in found]


def decisive(root: Path, spec: DatasetSpec) -> dict[str, Any]:
    """What says which video is for what, besides the videos' own files."""
    return {SPLITS_CSV: digest_or_none(root / SPLITS_CSV)}


def read(
    root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
) -> Iterator[Episode | Rejected]:
    """The one video, or why it cannot be had."""
    if wanted is not None and source.name not in wanted:
        return
    path = root / source.name
    try:
        split = (splits_csv(root) or {}).get(source.name)
        fps = fps_of(path, spec.fps)
        episode = Episode(source.name, source.name, fps, functools.partial(video_chunks, path), split=split)
    except DataError as error:
        yield Rejected(source.name, 0, without(path, error))
        return
    yield episode
