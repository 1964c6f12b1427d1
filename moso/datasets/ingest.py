"""Raw files -> manifest and quarantine: the part of ingest that is the same for every format.

What was read before and has not changed since is not read again: an earlier result (`Ingested`) is extended.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.manifest import Manifest, Row, write_parquet
from moso.datasets.quarantine import read_quarantine, write_quarantine
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec
from moso.datasets.splits import Splits
from moso.errors import DataError, FormatError, StopRequested
from moso.provenance import digest_json
from moso.step import StopSignal
from moso.workers import work_through

SOURCES = pa.schema([("source", pa.string()), ("file", pa.string()), ("bytes", pa.int64()), ("mtime_ns", pa.int64())])


@dataclass(frozen=True)
class Ingested:
    """What ingest knows of a data set.

    Attributes:
        manifest: the episodes.
        rejected: the bad records of all files that lie there now.
        files: columns source, file, bytes, mtime_ns: every raw file as it was when it was read; -1: not known, or gone.
    """

    manifest: Manifest
    rejected: list[Rejected]
    files: pd.DataFrame

    @classmethod
    def nothing(cls) -> Ingested:
        """Before the first file."""
        return cls(Manifest.empty(), [], SOURCES.empty_table().to_pandas())

    @classmethod
    def read(cls, folder: Path) -> Ingested:
        """What `write` wrote.

        Raises:
            FormatError: files of another kind.
        """
        files = pq.read_table(folder / "sources.parquet")
        if files.schema.names != SOURCES.names:
            raise FormatError(f"{folder / 'sources.parquet'}: columns {files.schema.names}, expected {SOURCES.names}")
        rejected = read_quarantine(folder / "quarantine.parquet")
        return cls(Manifest.read(folder / "manifest.parquet"), rejected, files.to_pandas())

    def write(self, folder: Path) -> None:
        """manifest.parquet, quarantine.parquet and sources.parquet."""
        self.manifest.write(folder / "manifest.parquet")
        write_quarantine(self.rejected, folder / "quarantine.parquet")
        write_parquet(self.files, SOURCES, folder / "sources.parquet")

    def without_times(self) -> Ingested:
        """The same, its files' times of change not known (-1): what differs from machine to machine."""
        return Ingested(self.manifest, self.rejected, self.files.assign(mtime_ns=-1))


def state_folder(work: Path, spec: DatasetSpec) -> Path:
    """Where the step ingest keeps what it last knew of a data set, times of change included.

    Args:
        work: the step's work folder.
        spec: the data set. Other settings that decide on what an episode is have another folder.
    """
    decisive = {name: getattr(spec, name) for name in ("format", "options", "splits", "lists", "fps", "episode_frames")}
    return work / f"{spec.name}-{digest_json(decisive)[:16]}"


def row_of(episode: Episode, splits: Splits) -> Row:
    """The manifest's row of an episode; its stream is read once, in bounded memory.

    Raises:
        DataError: the recording has no split, or its stream is bad.
    """
    split = splits.split_of(episode)
    hashed, count, height, width = hashlib.sha256(), 0, 0, 0
    for chunk in episode.chunks():
        hashed.update(np.ascontiguousarray(chunk).data)
        count, (height, width) = count + len(chunk), chunk.shape[1:3]
    return Row(
        episode_id=episode.episode_id,
        split=split,
        recording=episode.recording,
        source=episode.source,
        sha256=hashed.hexdigest(),
        frames=count,
        height=height,
        width=width,
        fps=episode.fps,
        actions=0 if episode.actions is None else episode.actions.shape[1],
    )


def read_source(root: Path, spec: DatasetSpec, splits: Splits, source: Source) -> list[Row | Rejected]:
    """Rows and bad records of one source, in its order."""
    found: list[Row | Rejected] = []
    try:
        for record in reader(spec.format).read(root, source, spec):
            if isinstance(record, Rejected):
                found.append(record)
                continue
            try:
                found.append(row_of(record, splits))
            except DataError as error:
                found.append(Rejected(record.source, record.offset, f"{record.episode_id}: {error}"))
    except OSError as error:  # a file that is gone, or may not be read
        found.append(Rejected(source.name, 0, f"cannot be read: {error.strerror or error}"))
    return found


def fingerprint(root: Path, sources: Sequence[Source]) -> pd.DataFrame:
    """Size and time of change of every file of `sources`, as `Ingested.files`; a missing file has -1 for both."""
    rows = []
    for source in sources:
        for file in source.files:
            try:
                status = (root / file).stat()
                rows.append((source.name, file, status.st_size, status.st_mtime_ns))
            except OSError:
                rows.append((source.name, file, -1, -1))
    return pd.DataFrame(rows, columns=SOURCES.names)


def changed(files: pd.DataFrame, earlier: pd.DataFrame) -> tuple[set[str], set[str]]:
    """Names of the sources that are new or of which a file changed since `earlier`, and of those that are gone.

    A file whose time of change was not known earlier (-1) counts as changed.
    """
    now, then = (
        {str(name): frozenset(group.itertuples(index=False, name=None)) for name, group in table.groupby("source")}
        for table in (files, earlier)
    )
    unknown = set(earlier.loc[earlier["mtime_ns"] == -1, "source"])
    return {name for name, state in now.items() if then.get(name) != state or name in unknown}, set(then) - set(now)


def ingest(
    root: Path,
    sources: Sequence[Source],
    spec: DatasetSpec,
    splits: Splits | None = None,
    *,
    base: Ingested | None = None,
    workers: int = 1,
    stop: StopSignal | None = None,
    each: Callable[[str], None] = lambda source: None,
) -> Ingested:
    """What the raw files `sources` hold, after what `base` holds of them.

    Args:
        root: the raw data's root.
        sources: raw files; the manifest's rows keep this order.
        spec: the data set.
        splits: its splits; made of the spec where they are not given.
        base: an earlier result. Sources whose files have the same sizes and times as then are not read; new episodes
            are appended as the manifest's next version.
        workers: processes that read.
        stop: once raised, no further source is begun.
        each: called after every source that was read or left out; for progress, and to stop by raising.

    Raises:
        DataError: an id twice, one recording or the same frames in two splits, or an episode of `base` that is gone or
            has other frames now.
        StopRequested: `stop` was raised before the last source was read.
    """
    base, splits = base or Ingested.nothing(), splits or Splits.of(spec)
    files = fingerprint(root, sources)
    to_read, gone = changed(files, base.files)
    if gone:
        _refuse_gone(base.manifest, gone, root)
    for source in sources:
        if source.name not in to_read:
            each(source.name)

    found: dict[str, list[Row | Rejected]] = {}
    task = functools.partial(_read_named, root, spec, splits)
    waiting = [source for source in sources if source.name in to_read]
    for name, records in work_through(task, waiting, min(workers, max(1, len(waiting))), stop=stop, where=str(root)):
        found[name] = records
        each(name)
    if len(found) < len(waiting):
        raise StopRequested("while reading raw files")

    rows: list[Row] = []
    rejected = [r for r in base.rejected if not _belongs(r, files, to_read | gone, base.files)]
    for source in waiting:
        for record in found[source.name]:
            (rejected if isinstance(record, Rejected) else rows).append(record)  # type: ignore[arg-type]
    return Ingested(base.manifest.append(_new(rows, base.manifest, to_read)), rejected, files)


def _read_named(root: Path, spec: DatasetSpec, splits: Splits, source: Source) -> tuple[str, list[Row | Rejected]]:
    return source.name, read_source(root, spec, splits, source)


def _belongs(rejected: Rejected, files: pd.DataFrame, names: set[str], earlier: pd.DataFrame) -> bool:
    """Whether a record that was bad earlier comes from one of the sources `names`."""
    if rejected.file in names:
        return True
    owners = set(files.loc[files["file"] == rejected.file, "source"])
    owners |= set(earlier.loc[earlier["file"] == rejected.file, "source"])
    return bool(owners & names)


def _new(rows: Sequence[Row], manifest: Manifest, read: set[str]) -> list[Row]:
    """The rows that the manifest does not hold yet; those that it holds must be as they were."""
    table = manifest.table[manifest.table["source"].isin(read)]
    known = dict(zip(table["episode_id"], table["sha256"], strict=True))
    there = {row["episode_id"]: row["sha256"] for row in rows}
    for episode_id, sha256 in known.items():
        if there.get(episode_id) != sha256:
            what = "is no longer there or has become bad" if episode_id not in there else "has other frames now"
            raise DataError(
                f"{episode_id} {what}, but an earlier manifest holds it, and a manifest only grows: restore the file, "
                "or start anew with ingest.extend = false"
            )
    return [row for row in rows if row["episode_id"] not in known]


def _refuse_gone(manifest: Manifest, gone: set[str], root: Path) -> None:
    lost = manifest.table[manifest.table["source"].isin(gone)]
    if len(lost):
        raise DataError(
            f"{root}: {lost['source'].nunique()} raw files are gone that an earlier manifest names, the first is "
            f"{lost['source'].iloc[0]}: restore them, or start anew with ingest.extend = false"
        )
