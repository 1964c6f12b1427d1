"""Folders of numbered images, a folder a clip, in any folders below the root.

<root>/…/<clip>/<name><number>.png; .jpg, .jpeg and .bmp too. The last number in a name is the frame's: frame2 comes
before frame10. A number that is missing or there twice sets the clip aside.

An optional splits.csv in the root (columns path and split; paths of clips relative to the root) says which clip is for
what, with split rule "recorded"; without it the spec's own rule does, by a hash as a rule.

An episode is a folder, named by its path below the root: `kitchen/take1`. It is its own recording.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.readers.files import SPLITS_CSV, digest_or_none, image_chunks, refuse_unused_splits, splits_csv, walk
from moso.datasets.readers.options import options_of
from moso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec


@dataclass(frozen=True)
class Options:
    """What a spec's `options` may say.

    Attributes:
        suffixes: of the files that are frames, in lower case; others are passed over.
        step: between the numbers of two frames that follow on each other: 5 where every fifth frame was kept.
    """

    suffixes: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".bmp")
    step: int = 1

    def __post_init__(self) -> None:
        if not self.suffixes or any(not s.startswith(".") or s != s.lower() for s in self.suffixes):
            raise ConfigError("suffixes", list(self.suffixes), "must begin with '.' and be in lower case", "'.png'")
        if self.step < 1:
            raise ConfigError("step", self.step, "must be at least 1")


def sources(root: Path, spec: DatasetSpec) -> list[Source]:
    """The folders that hold images, in natural order, and those that splits.csv names and are missing.

    Raises:
        DataError: no image below a folder of the root, images in the root itself, or a splits.csv that cannot be read
            or does not go with the spec's rule.
    """
    options = options_of(spec, Options)
    found: dict[str, tuple[str, ...]] = {}
    for below, files in walk(root):
        if images := tuple((below / file).as_posix() for file in files if file.lower().endswith(options.suffixes)):
            found[below.as_posix()] = images
    if not found:
        raise DataError(f"{root}: no folder with images below it ({', '.join(options.suffixes)})")
    if "." in found:
        raise DataError(f"{root}: images lie in the root itself, {found['.'][0]} is one; give each clip a folder in it")
    refuse_unused_splits(root, spec.splits.rule)
    for name in splits_csv(root) or ():
        found.setdefault(name, (name,))
    return [Source(name, files) for name, files in found.items()]


def decisive(root: Path, spec: DatasetSpec) -> dict[str, Any]:
    """What says which clip is for what, besides the clips' own files."""
    return {SPLITS_CSV: digest_or_none(root / SPLITS_CSV)}


def read(
    root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
) -> Iterator[Episode | Rejected]:
    """The one clip, or why it cannot be had."""
    if wanted is not None and source.name not in wanted:
        return
    try:
        split = (splits_csv(root) or {}).get(source.name)
        files = source.files
        if not (root / source.name).is_dir() or files == (source.name,):
            raise DataError("no such folder with images")
        _check_numbers(files, options_of(spec, Options).step)
        chunks = functools.partial(image_chunks, root, files)
        episode = Episode(source.name, source.name, spec.fps, chunks, split=split, frames=len(files))
    except DataError as error:
        yield Rejected(source.name, 0, str(error))
        return
    yield episode


def _check_numbers(files: Sequence[str], step: int) -> None:
    numbered: list[tuple[int, str]] = []
    for name in (PurePosixPath(file).name for file in files):
        digits = re.findall(r"\d+", PurePosixPath(name).stem)
        if not digits:
            raise DataError(f"{name}: no number in its name")
        numbered.append((int(digits[-1]), name))
    for (before, earlier), (number, name) in pairwise(numbered):
        if number == before:
            raise DataError(f"{earlier} and {name} have the same number")
        if number != before + step:
            raise DataError(f"a gap: frame {before + step} is missing, {name} follows on {earlier}")
