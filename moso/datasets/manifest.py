"""The manifest: a table with a row an episode, append-only, in versions (contract 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from moso.errors import DataError, FormatError

SCHEMA = pa.schema(
    [
        ("episode_id", pa.string()),
        ("split", pa.string()),
        ("recording", pa.string()),
        ("source", pa.string()),
        ("sha256", pa.string()),
        ("signals_sha256", pa.string()),
        ("frames", pa.int64()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        ("fps", pa.float64()),
        ("actions", pa.int64()),
        ("added_in", pa.int64()),
    ]
)


class Row(TypedDict):
    """One episode, as `Manifest.append` takes it; the manifest itself adds `added_in`."""

    episode_id: str
    split: str
    recording: str
    source: str
    sha256: str
    signals_sha256: str
    frames: int
    height: int
    width: int
    fps: float
    actions: int


def _table(rows: Sequence[Row], version: int) -> pd.DataFrame:
    data = [{**row, "added_in": version} for row in rows]
    frame: pd.DataFrame = pa.Table.from_pylist(data, schema=SCHEMA).to_pandas()
    return frame


def write_parquet(table: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    """Write `table` with exactly the columns and types of `schema`.

    The index and pandas' own metadata (its version) are left out, so that equal tables have equal bytes.
    """
    arrow = pa.Table.from_pandas(table[schema.names], schema=schema, preserve_index=False)
    pq.write_table(arrow.replace_schema_metadata(None), path)


@dataclass(frozen=True)
class Manifest:
    """Episodes of a data set.

    Attributes:
        table: columns episode_id, split, recording (episodes of one never lie in two splits), source, sha256 (of the
            frames' bytes), signals_sha256 (of actions and states, "" where there are none), frames, height, width (of
            the raw frames), fps, actions (their dimension, 0: none), added_in (manifest version that brought the row).
    """

    table: pd.DataFrame

    @classmethod
    def empty(cls) -> Manifest:
        """Version 0: no episodes."""
        return cls(_table([], 0))

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest in a parquet file.

        Raises:
            FormatError: columns that are not a manifest's.
        """
        arrow = pq.read_table(path)
        if arrow.schema.names != SCHEMA.names:
            raise FormatError(f"{path}: columns {arrow.schema.names}, a manifest has {SCHEMA.names}")
        return cls(arrow.cast(SCHEMA).to_pandas())

    def write(self, path: Path) -> None:
        """Write the manifest as parquet."""
        write_parquet(self.table, SCHEMA, path)

    @property
    def version(self) -> int:
        """Number of appends so far."""
        return int(self.table["added_in"].max()) if len(self.table) else 0

    def append(self, rows: Sequence[Row]) -> Manifest:
        """The next version: this one's rows, unchanged and first, then `rows`. Without rows, this one.

        Raises:
            DataError: an id twice, or one recording or the same frames in two splits (a leak from training to test).
        """
        if not rows:
            return self
        table = pd.concat([self.table, _table(rows, self.version + 1)], ignore_index=True)
        twice = table[table["episode_id"].duplicated(keep=False)]
        if len(twice):
            first = twice[twice["episode_id"] == twice["episode_id"].iloc[0]]
            raise DataError(
                f"episode id {first['episode_id'].iloc[0]!r} occurs {len(first)} times, in {_list(first['source'])}; "
                f"{twice['episode_id'].nunique()} ids are affected: remove or rename the files"
            )
        for column, what in (("recording", "one recording lies"), ("sha256", "the same frames lie")):
            splits = table.groupby(column)["split"].nunique()
            leaks = splits[splits > 1]
            if len(leaks):
                group = table[table[column] == leaks.index[0]].drop_duplicates("split")
                pairs = ", ".join(f"{e} ({s})" for e, s in zip(group["episode_id"], group["split"], strict=True))
                raise DataError(f"{what} in several splits: {pairs}; {len(leaks)} such groups: remove one side of each")
        return Manifest(table)

    def counts(self) -> dict[str, dict[str, int]]:
        """Episodes and frames a split, and episodes whose frames repeat an earlier one's of the same split."""
        groups = self.table.groupby("split", sort=True)
        return {
            "episodes": {str(k): int(v) for k, v in groups.size().items()},
            "frames": {str(k): int(v) for k, v in groups["frames"].sum().items()},
            "duplicates": {str(k): int(g["sha256"].duplicated().sum()) for k, g in groups},
        }


def _list(values: pd.Series) -> str:
    return ", ".join(str(v) for v in values[:3]) + (", …" if len(values) > 3 else "")
