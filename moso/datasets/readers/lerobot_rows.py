"""What a LeRobot data file (parquet) holds of an episode: time stamps, actions and states, and pictures that lie in it.

T frames of an episode, D numbers a frame, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from moso.datasets.inside import inside
from moso.datasets.readers.lerobot_episodes import Entry, one_line
from moso.datasets.readers.lerobot_info import Camera
from moso.errors import DataError
from moso.video.pictures import decode

PICTURES = 8  # read and decoded at a time


@dataclass(frozen=True)
class Rows:
    """An episode's rows of a data file.

    Attributes:
        first: the file's row of frame 0.
        timestamps: seconds since the episode's beginning, as the file has them.
        precision: how far rounding to the file's type may have moved each of them.
        table: the other columns that were asked for, T rows (a pyarrow table).
    """

    first: int
    timestamps: Float[np.ndarray, "T"]
    precision: Float[np.ndarray, "T"]
    table: Any

    def signal(self, key: str, dimension: int) -> Float32[np.ndarray, "T D"]:
        """A column of numbers as float32, a row a frame; more axes than one are laid out in a row.

        Raises:
            DataError: no such column, another dimension than info.json declares, or no numbers.
        """
        return _numbers(self.table, key, dimension).astype(np.float32)


class DataFile:
    """A data file, its columns of numbers read at once: they are small beside pictures and videos.

    Raises:
        DataError: the file is missing, cut off, damaged, or lacks a column that every data set has.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        needed = ("episode_index", "timestamp")
        try:
            if path.stat().st_size == 0:
                raise DataError("the file is empty")
            with pq.ParquetFile(path) as parquet:
                there = parquet.schema_arrow.names
                if missing := [name for name in needed if name not in there]:
                    raise DataError(f"has no column {' and none '.join(missing)}")
                wanted = [name for name in (*needed, "frame_index", "index", *columns) if name in there]
                self.table = parquet.read(columns=wanted).select(list(dict.fromkeys(wanted)))
            self.episodes = _scalars(self.table, "episode_index").astype(np.int64)
        except FileNotFoundError:
            raise DataError("the file is missing") from None
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            raise DataError(f"cannot be read as parquet ({one_line(error)})") from None

    def rows(self, entry: Entry) -> Rows:
        """The rows of an episode.

        Raises:
            DataError: another number of rows than the metadata say, rows that do not lie together, frames that are
                not numbered 0, 1, 2, …, or another place in the data set than the metadata say.
        """
        found = np.flatnonzero(self.episodes == entry.index)
        if len(found) != entry.length:
            raise DataError(f"{len(found)} rows in the data file, {entry.length} frames in the metadata")
        if not len(found):
            raise DataError("has no frames")
        first = int(found[0])
        if int(found[-1]) - first + 1 != len(found):
            raise DataError(f"its rows do not lie together: the first is {first}, the last of {len(found)} {found[-1]}")
        table = self.table.slice(first, len(found))
        if "frame_index" in table.column_names:
            _check_numbering(_scalars(table, "frame_index"))
        if "index" in table.column_names and entry.from_index is not None:
            start = int(_scalars(table, "index")[0])
            if start != entry.from_index:
                raise DataError(f"its first frame has index {start}, dataset_from_index is {entry.from_index}")
        stamps = _scalars(table, "timestamp")
        precision = (
            np.spacing(np.abs(stamps)).astype(np.float64) if stamps.dtype == np.float32 else np.zeros(len(stamps))
        )
        return Rows(first, stamps.astype(np.float64), precision, table)


def pictures(path: Path, root: Path, camera: Camera, first: int, count: int) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
    """Rows [first, first + count) of a column of encoded pictures, {bytes, path} each, decoded a few at a time.

    Raises:
        DataError: a missing or damaged picture, or one of another size than info.json declares; the frame is named.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as parquet:
            if camera.key not in parquet.schema_arrow.names:
                raise DataError(f"camera {camera.key} is missing from the data file")
            groups, skipped = _row_groups(parquet, first, count)
            batches = parquet.iter_batches(batch_size=PICTURES, row_groups=groups, columns=[camera.key])
            row = skipped
            for batch in batches:
                start, end = max(first - row, 0), min(first + count - row, batch.num_rows)
                row += batch.num_rows
                if start >= end:
                    continue
                cells = batch.column(camera.key).slice(start, end - start).to_pylist()
                at = row - batch.num_rows + start - first
                # One by one where info.json declares no size: Episode.chunks names a frame of another one.
                step = len(cells) if camera.height is not None else 1
                for i in range(0, len(cells), step):
                    yield np.stack(
                        [_picture(cell, root, camera, at + i + j) for j, cell in enumerate(cells[i : i + step])]
                    )
    except FileNotFoundError:
        raise DataError("the file is missing") from None
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise DataError(f"cannot be read as parquet ({one_line(error)})") from None


def _row_groups(parquet: Any, first: int, count: int) -> tuple[list[int], int]:
    """The row groups that hold the rows [first, first + count), and the number of rows before them."""
    groups, before, skipped = [], 0, 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if before + rows <= first:
            skipped = before + rows
        elif before < first + count:
            groups.append(group)
        before += rows
    return groups, skipped


def _picture(cell: Any, root: Path, camera: Camera, frame: int) -> UInt8[np.ndarray, "H W 3"]:
    where = f"camera {camera.key}, frame {frame}"
    size = None if camera.height is None or camera.width is None else (camera.height, camera.width)
    encoded = cell.get("bytes") if isinstance(cell, Mapping) else cell
    try:
        if encoded is None and isinstance(cell, Mapping) and cell.get("path"):
            encoded = root / inside(str(cell["path"]))
        if not isinstance(encoded, (bytes, Path)) or not encoded:
            raise DataError("no picture")
        return decode(encoded, size=size)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _check_numbering(numbers: np.ndarray) -> None:
    wrong = np.flatnonzero(numbers != np.arange(len(numbers)))
    if not len(wrong):
        return
    frame = int(wrong[0])
    number = int(numbers[frame])
    before = int(numbers[frame - 1]) if frame else -1
    what = "a duplicate" if number <= before else "a gap"
    raise DataError(f"frame {frame}: {what} in the data file: frame_index is {number}, expected {frame}")


def _scalars(table: Any, key: str) -> np.ndarray:
    """A column of one number a row."""
    column = _flat(table, key)
    if column.null_count:
        raise DataError(f"column {key} has missing values")
    values: np.ndarray = np.asarray(column.to_numpy(zero_copy_only=False))
    if values.dtype.kind not in "iuf":
        raise DataError(f"column {key} holds {column.type}, expected numbers")
    if len(values) != table.num_rows:
        raise DataError(f"column {key} has {len(values)} numbers in {table.num_rows} rows")
    return values


def _numbers(table: Any, key: str, dimension: int) -> Float[np.ndarray, "T D"]:
    if key not in table.column_names:
        raise DataError(f"{key} is missing from the data file, though info.json names it")
    column = _flat(table, key)
    values = np.asarray(column.to_numpy(zero_copy_only=False))
    if values.dtype.kind not in "iufb" or column.null_count:
        raise DataError(f"{key} holds {column.type} or missing values, expected numbers")
    rows = table.num_rows
    if len(values) != rows * dimension:
        found = f"{len(values) / rows:g}"
        raise DataError(f"{key} has {found} dimensions, info.json declares {dimension}")
    return values.reshape(rows, dimension).astype(np.float64)


def _flat(table: Any, key: str) -> Any:
    """A column's numbers one after the other; lists of several lengths are refused."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(key).combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # of no rows
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    while (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ):
        if column.null_count:
            raise DataError(f"column {key} has missing values")
        lengths = pc.min_max(pc.list_value_length(column)).as_py()
        if lengths["min"] != lengths["max"]:
            raise DataError(f"column {key} has from {lengths['min']} to {lengths['max']} numbers a row")
        column = column.flatten()
    return column
