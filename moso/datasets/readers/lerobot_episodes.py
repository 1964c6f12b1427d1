"""Where each episode of a LeRobot data set lies: its data file, and each camera's video file.

v3: meta/episodes/*/*.parquet has a row an episode. data/{chunk,file}_index say the data file, videos/<camera>/{chunk,
file}_index the video file: numbers of different files, of which neither is ever used for the other. v2: a line an
episode in meta/episodes.jsonl; the files follow from the episode's index.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from moso.datasets.readers.files import walk
from moso.datasets.readers.lerobot_info import INFO, Info, load_info
from moso.errors import DataError

EPISODES_V2 = "meta/episodes.jsonl"
EPISODES_V3 = "meta/episodes"
MOST_ABSENT = 100_000  # reported one by one: a damaged total_episodes may be any number


@dataclass(frozen=True)
class Stretch:
    """An episode's part of a video file.

    Attributes:
        file: relative to the root.
        from_s: time stamp in the file at which the episode's time is 0.
        to_s: where the next one's begins; None: the file ends with the episode.
    """

    file: str
    from_s: float = 0.0
    to_s: float | None = None


@dataclass(frozen=True)
class Entry:
    """An episode as the metadata describe it.

    Attributes:
        index: its number, which its rows in the data file carry.
        length: its frames.
        data_file: relative to the root.
        from_index: the data set's index of its first frame; None where it is not said.
        meta_file: the metadata file that says so and nothing of other data files; None where it is one for all.
        videos: camera -> its part of a video, or why there is none.
        columns: what else the metadata say of it: tasks, and what a team adds.
    """

    index: int
    length: int
    data_file: str
    from_index: int | None = None
    meta_file: str | None = None
    videos: Mapping[str, Stretch | str] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """A place in the metadata that cannot be used: file, line or row, and why."""

    file: str
    offset: int
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """All that the metadata say.

    Attributes:
        info: meta/info.json.
        entries: by data file, in the order of their indices; files in the order of their first episodes.
        problems: what could not be used.
        meta_files: every metadata file, relative to the root.
    """

    info: Info
    entries: Mapping[str, tuple[Entry, ...]]
    problems: tuple[Problem, ...]
    meta_files: tuple[str, ...]

    @functools.cached_property
    def columns(self) -> set[str]:
        """Names of the columns that episodes have in the metadata."""
        return {name for entries in self.entries.values() for entry in entries for name in entry.columns}


def catalogue(root: Path) -> Catalogue:
    """The metadata below `root`; read again only where a file of theirs has changed.

    Raises:
        DataError: no LeRobot data set, or one of another version, or not one episode in its metadata.
    """
    files = [root / INFO, root / EPISODES_V2, *_meta_files_v3(root)]
    stamp = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.is_file())
    return _catalogue(root, stamp)


@functools.lru_cache(maxsize=2)  # `read` is called for each data file: v2 has as many as episodes
def _catalogue(root: Path, stamp: tuple[tuple[str, int, int], ...]) -> Catalogue:
    info = load_info(root)
    rows, problems = _rows_v2(root) if info.major == 2 else _rows_v3(root)
    entries: dict[int, Entry] = {}
    for file, offset, row in rows:
        try:
            entry = _entry_v2(info, row) if info.major == 2 else _entry_v3(info, file, row)
            if entry.index in entries:
                raise DataError(f"episode {entry.index} is listed twice")
            entries[entry.index] = entry
        except (DataError, KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"an episode has no {error}" if isinstance(error, KeyError) else str(error)
            problems.append(Problem(file, offset, reason))
    if not entries:
        reason = f" ({problems[0].file}: {problems[0].reason})" if problems else ""
        where = EPISODES_V2 if info.major == 2 else f"{EPISODES_V3}/*/*.parquet"
        raise DataError(
            f"{root}: {INFO} says {info.version}, but {where} names no episode{reason}; fetch the whole folder"
        )
    if len(entries) < info.total_episodes:
        absent = (i for i in range(info.total_episodes) if i not in entries and i not in info.exclude)
        for index in islice(absent, min(info.total_episodes - len(entries), MOST_ABSENT)):
            reason = f"episode {index} of {info.total_episodes} is named by no metadata file"
            problems.append(Problem(INFO, index, reason))
    files: dict[str, list[Entry]] = {}
    for index in sorted(entries):
        files.setdefault(entries[index].data_file, []).append(entries[index])
    names = tuple(Path(path).relative_to(root).as_posix() for path, *_ in stamp)
    return Catalogue(info, {name: tuple(group) for name, group in files.items()}, tuple(problems), names)


def _rows_v2(root: Path) -> tuple[list[tuple[str, int, dict[str, Any]]], list[Problem]]:
    rows: list[tuple[str, int, dict[str, Any]]] = []
    problems = []
    try:
        lines = (root / EPISODES_V2).read_bytes().splitlines()
    except OSError as error:
        return [], [Problem(EPISODES_V2, 0, f"cannot be read: {error.strerror or error}")]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("no JSON object")
            rows.append((EPISODES_V2, number, row))
        except (ValueError, RecursionError) as error:
            problems.append(Problem(EPISODES_V2, number, f"line {number} cannot be read ({error})"))
    return rows, problems


def _meta_files_v3(root: Path) -> list[Path]:
    folder = root / EPISODES_V3
    if not folder.is_dir():
        return []
    return sorted(folder / below / file for below, files in walk(folder) for file in files if file.endswith(".parquet"))


def _rows_v3(root: Path) -> tuple[list[tuple[str, int, dict[str, Any]]], list[Problem]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[tuple[str, int, dict[str, Any]]] = []
    problems = []
    for path in _meta_files_v3(root):
        file = path.relative_to(root).as_posix()
        try:
            with pq.ParquetFile(path) as parquet:
                # Statistics of every feature make up most of a row and are not needed.
                names = [name for name in parquet.schema_arrow.names if not name.startswith("stats/")]
                table = parquet.read(columns=names).select(names)
            rows += [(file, i, row) for i, row in enumerate(table.to_pylist())]
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            problems.append(Problem(file, 0, f"cannot be read as parquet ({one_line(error)})"))
    return rows, problems


def _entry_v2(info: Info, row: dict[str, Any]) -> Entry:
    index = _whole(row, "episode_index")
    values = {"episode_chunk": index // info.chunks_size, "episode_index": index}
    videos: dict[str, Stretch | str] = {}
    for camera in info.cameras:
        if camera.stored == "video" and not camera.depth:
            videos[camera.key] = Stretch(info.video_file(camera.key, **values))
    return Entry(index, _whole(row, "length"), info.data_file(**values), None, None, videos, row)


def _entry_v3(info: Info, file: str, row: dict[str, Any]) -> Entry:
    index, length = _whole(row, "episode_index"), _whole(row, "length")
    data = info.data_file(
        chunk_index=_whole(row, "data/chunk_index"),
        file_index=_whole(row, "data/file_index"),
        episode_index=index,
    )
    videos: dict[str, Stretch | str] = {}
    for camera in info.cameras:
        if camera.stored == "video" and not camera.depth:
            videos[camera.key] = _stretch(info, camera.key, index, row)
    first = row.get("dataset_from_index")
    return Entry(index, length, data, None if first is None else int(first), file, videos, row)


def _stretch(info: Info, camera: str, index: int, row: dict[str, Any]) -> Stretch | str:
    prefix = f"videos/{camera}"
    try:
        file = info.video_file(
            camera,
            chunk_index=_whole(row, f"{prefix}/chunk_index"),
            file_index=_whole(row, f"{prefix}/file_index"),
            episode_index=index,
        )
        start, end = float(row[f"{prefix}/from_timestamp"]), row.get(f"{prefix}/to_timestamp")
        end = None if end is None else float(end)
        if not math.isfinite(start) or start < 0 or (end is not None and not end > start):
            raise DataError(f"its part of the video from {start} to {end} s is none")
        return Stretch(file, start, end)
    except KeyError as error:
        return f"the metadata have no {error}"
    except (DataError, TypeError, ValueError) as error:
        return str(error)


def _whole(row: Mapping[str, Any], name: str) -> int:
    value = row[name]
    # pandas writes a column with a missing value as floats
    if value is None or isinstance(value, bool) or float(value) != int(value) or value < 0:
        raise DataError(f"{name} is {value!r}")
    return int(value)


def one_line(error: BaseException) -> str:
    """What a library says, without its line ends and at most 200 characters of it."""
    return " ".join(str(error).split())[:200] or type(error).__name__
