"""What the readers of loose files share: walking a folder, a recording's frames a second, splits.csv.

T frames, n frames of a chunk, H W pixels.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from moso.datasets import folders
from moso.datasets.episode import SPLITS
from moso.datasets.inside import inside
from moso.errors import DataError
from moso.provenance import digest_file
from moso.video import probe, stream
from moso.video.pictures import decode

SPLITS_CSV = "splits.csv"
CHUNK_FRAMES = 8


def walk(root: Path) -> Iterator[tuple[PurePosixPath, list[str]]]:
    """Every folder below `root` (itself too, as "."), relative to it, and the names of its files, in natural order.

    Hidden ones, and what a Mac leaves in archives, are passed over; links to folders are followed once.

    Raises:
        DataError: `root` is no folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; put the raw files there, or name their folder in ingest.raw")
    yield from folders.walk(root, shown=_shown, follow=True)


@functools.lru_cache(maxsize=8)  # thousands of sources ask for the same lists
def first_named(root: Path, names: tuple[str, ...]) -> Mapping[str, str]:
    """name -> the first file of that name below `root`, relative to it; names that are nowhere are left out.

    `first_named.cache_clear()` where files may have come or gone.
    """
    found: dict[str, str] = {}
    for below, files in walk(root):
        for name in set(names) & set(files):
            found.setdefault(name, (below / name).as_posix())
    return found


def digest_or_none(path: Path) -> str | None:
    """Hexadecimal sha256 of a file's content; None where there is no such file."""
    return digest_file(path) if path.is_file() else None


def fps_of(path: Path, otherwise: float) -> float:
    """Frames a second by the file; `otherwise` where it does not say.

    Raises:
        DataError: it is no video, or an empty or damaged one.
    """
    check_there(path)
    return probe(path).fps or otherwise


def check_there(path: Path) -> None:
    """Raise DataError where a file is missing or empty: FFmpeg's own words for it are vague."""
    try:
        if path.stat().st_size == 0:
            raise DataError("the file is empty")
    except OSError as error:
        raise DataError(
            "the file is missing" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
        ) from None


def without(path: Path, error: DataError) -> str:
    """The message without the file's absolute path in front: quarantine's table names it in a column of its own."""
    return str(error).removeprefix(f"{path}: ")


def video_chunks(
    path: Path, first: int = 0, count: int | None = None, chunk: int = CHUNK_FRAMES
) -> Iterator[np.ndarray]:
    """Frames [first, first + count) of a video: uint8 (n, H, W, 3), n at most `chunk`.

    Raises:
        DataError: damage; its message does not repeat the path.
    """
    try:
        yield from stream(path, first=first, count=count, chunk=chunk)
    except DataError as error:
        raise DataError(without(path, error)) from None


def image_chunks(root: Path, names: Collection[str]) -> Iterator[np.ndarray]:
    """One frame an image, in the given order: uint8 (n, H, W, 3).

    Raises:
        DataError: an image that cannot be decoded or has another size than the first; its name is in the message.
    """
    held: list[np.ndarray] = []
    size, first = None, ""
    for name in names:
        frame = _image(root, name)
        if size is None:
            size, first = frame.shape[:2], PurePosixPath(name).name
        if frame.shape[:2] != size:
            found, expected = (f"{s[0]} x {s[1]}" for s in (frame.shape, size))
            raise DataError(f"{name}: {found} pixels, {first} has {expected}")
        held.append(frame)
        if len(held) == CHUNK_FRAMES:
            yield np.stack(held)
            held.clear()
    if held:
        yield np.stack(held)


def splits_csv(root: Path) -> dict[str, str] | None:
    """<root>/splits.csv, columns path and split, as path -> split; None where there is no such file.

    Raises:
        DataError: other columns, an unknown split, a path twice or one that leads out of the root; the line is named.
    """
    path = root / SPLITS_CSV
    if not path.is_file():
        return None
    status = path.stat()
    return _splits_csv(path, status.st_size, status.st_mtime_ns)


def refuse_unused_splits(root: Path, rule: str) -> None:
    """A splits.csv that the spec's rule would not look at is an error, and so is the reverse."""
    there = splits_csv(root) is not None
    if there and rule != "recorded":
        raise DataError(
            f"{root / SPLITS_CSV} names splits, but the spec's rule is {rule!r}: say `splits: {{rule: recorded}}` in "
            "the spec, or remove the file"
        )
    if not there and rule == "recorded":
        raise DataError(
            f"{root / SPLITS_CSV}: no such file, which the spec's split rule 'recorded' needs: write it (columns path "
            "and split), or say `splits: {rule: hash, validation_share: 0.05, test_share: 0.05}` in the spec"
        )


@functools.lru_cache(maxsize=4)  # thousands of sources ask for one file
def _splits_csv(path: Path, size: int, mtime_ns: int) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            if not {"path", "split"} <= set(rows.fieldnames or ()):
                raise DataError(f"{path}: columns {rows.fieldnames}, expected path and split in the first line")
            for row in rows:
                name, split = ((row[column] or "").strip() for column in ("path", "split"))
                name = PurePosixPath(name.replace("\\", "/")).as_posix()
                try:
                    inside(name)
                except DataError as error:
                    raise DataError(f"{path}, line {rows.line_num}: {error}, expected a path below the root") from None
                if split not in SPLITS:
                    raise DataError(f"{path}, line {rows.line_num}: split {split!r}, expected {', '.join(SPLITS)}")
                if name in found:
                    raise DataError(f"{path}, line {rows.line_num}: {name} a second time")
                found[name] = split
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table ({error})") from None
    return found


def _image(root: Path, name: str) -> np.ndarray:
    try:
        return decode(root / name, upright=True)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _shown(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"
