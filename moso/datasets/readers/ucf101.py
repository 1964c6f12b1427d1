"""UCF101: AVIs of 101 classes, and three pairs of lists that say which are for training and which for testing.

<root>/…/<Class>/v_<Class>_g<GG>_c<CC>.avi, and trainlist0<n>.txt and testlist0<n>.txt (n = 1, 2, 3) somewhere below the
root or in ucfTrainTestlist beside it. A line of a list is "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", in training
lists followed by the class's number. The lists write HandStandPushups where files say HandstandPushups: names are
compared without case.

An episode is a clip, `v_Archery_g01_c01`; its recording is the group, `v_Archery_g01`: a group's clips are cut from one
video and never lie in two splits.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.readers.files import first_named, fps_of, video_chunks, walk, without
from moso.datasets.readers.options import options_of
from moso.errors import ConfigError, DataError
from moso.provenance import digest_file

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec

FILE = re.compile(r"(v_[A-Za-z]+_g\d\d)_c\d\d\.avi")
BESIDE = "ucfTrainTestlist"


@dataclass(frozen=True)
class Options:
    """What a spec's `options` may say.

    Attributes:
        list: which of the three pairs of lists: 1, 2 or 3.
    """

    list: int = 1

    def __post_init__(self) -> None:
        if self.list not in (1, 2, 3):
            raise ConfigError("list", self.list, "must be 1, 2 or 3: there are three pairs of lists")


def sources(root: Path, spec: DatasetSpec) -> list[Source]:
    """The clips by folder and name.

    Raises:
        DataError: no clip, or the lists are missing.
    """
    wanted = _list_names(spec)
    clips = [below / file for below, files in walk(root) for file in files if FILE.fullmatch(file)]
    if not clips:
        raise DataError(f"{root}: no v_<Class>_g<GG>_c<CC>.avi below it; unpack UCF101.rar there ({spec.homepage})")
    first_named.cache_clear()
    for name, path in zip(wanted, _lists(root, wanted), strict=True):
        if path is None:
            raise DataError(
                f"{root}: {name} is neither below it nor in {BESIDE} beside it; unpack "
                f"UCF101TrainTestSplits-RecognitionTask.zip there ({spec.homepage})"
            )
    return [Source(clip.as_posix()) for clip in sorted(clips, key=lambda clip: (clip.name, clip.as_posix()))]


def decisive(root: Path, spec: DatasetSpec) -> dict[str, Any]:
    """The lists, which say what each clip is for."""
    first_named.cache_clear()
    names = _list_names(spec)
    return {name: path and digest_file(path) for name, path in zip(names, _lists(root, names), strict=True)}


def read(
    root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
) -> Iterator[Episode | Rejected]:
    """The one clip, with the split that the lists say (split rule "recorded"), or why it cannot be had."""
    path = root / source.name
    match = FILE.fullmatch(path.name)
    assert match is not None  # `sources` takes no other
    if wanted is not None and path.stem not in wanted:
        return
    train, test = _list_names(spec)
    try:
        lists = [found for found in _lists(root, (train, test)) if found is not None]
        if len(lists) < 2:
            raise DataError(f"{train} or {test} is gone")
        split = _splits(*lists).get(path.name.lower())
        if split is None:
            raise DataError(f"is neither in {train} nor in {test}")
        if split == "both":
            raise DataError(f"is in {train} and in {test}")
        fps = fps_of(path, spec.fps)
    except DataError as error:
        yield Rejected(source.name, 0, without(path, error))
        return
    yield Episode(path.stem, source.name, fps, functools.partial(video_chunks, path), match[1], split)


def _list_names(spec: DatasetSpec) -> tuple[str, str]:
    number = options_of(spec, Options).list
    return f"trainlist0{number}.txt", f"testlist0{number}.txt"


def _lists(root: Path, names: tuple[str, str]) -> list[Path | None]:
    """Where the lists are: somewhere below the root, or beside it."""
    below = first_named(root, names)
    places = [root / below[name] if name in below else root.resolve().parent / BESIDE / name for name in names]
    return [place if place.is_file() else None for place in places]


def _splits(train: Path, test: Path) -> Mapping[str, str]:
    """File name in lower case -> "train", "test" or, where the lists contradict each other, "both"."""
    return _read_lists(train, test, *((path.stat().st_size, path.stat().st_mtime_ns) for path in (train, test)))


@functools.lru_cache(maxsize=4)  # thirteen thousand sources ask for two files
def _read_lists(train: Path, test: Path, *state: tuple[int, int]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for path, split in ((train, "train"), (test, "test")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if words := line.split():
                name = PurePosixPath(words[0].replace("\\", "/")).name.lower()
                found[name] = split if found.get(name, split) == split else "both"
    return found
