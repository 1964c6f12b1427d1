"""Walking a folder: readers, unpacked archives and trees of links do it here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from moso.video.pictures import natural


def walk(
    root: Path, *, shown: Callable[[str], bool] = lambda name: True, follow: bool = False
) -> Iterator[tuple[PurePosixPath, list[str]]]:
    """Every folder below `root` (itself too, as "."), relative to it, and the names of its files, in natural order.

    Args:
        root: where there is no such folder, nothing comes.
        shown: names of files and folders that it says no to are passed over.
        follow: links to folders are followed, each folder once; else they are passed over.
    """
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=follow):
        if follow:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(filter(shown, folders), key=_order)
        yield PurePosixPath(Path(folder).relative_to(root).as_posix()), sorted(filter(shown, files), key=_order)


def files_of(root: Path, *, follow: bool = False) -> Iterator[Path]:
    """Every file below `root`, hidden ones too; `follow` as for `walk`."""
    for below, names in walk(root, follow=follow):
        yield from (root / below / name for name in names)


def _order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    return natural(name), name
