"""Raw files -> manifest and quarantine: the part of ingest that is the same for every format.

What was read before and has not changed since is not read again: an earlier result (`Ingested`) is extended. What a run
that was stopped or killed has read is in a journal (moso.datasets.journal), and is not read again either.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from moso.datasets.episode import Episode, Rejected, Source, signals_sha256
from moso.datasets.journal import Journal
from moso.datasets.manifest import Manifest, Row, write_parquet
from moso.datasets.quarantine import read_quarantine, write_quarantine
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec
from moso.datasets.splits import Splits
from moso.errors import DataError, FormatError, StopRequested
from moso.provenance import digest_json
from moso.step import StopSignal
from moso.workers import work_through

T = TypeVar("T")
SOURCES = pa.schema([("source", pa.string()), ("file", pa.string()), ("bytes", pa.int64()), ("mtime_ns", pa.int64())])
ANEW = "restore the file, or start anew with ingest.extend = false"


@dataclass(frozen=True)
class Ingested:
    """What ingest knows of a data set.

    Attributes:
        manifest: the episodes.
        rejected: the bad records of all files that lie there now.
        files: columns source, file, bytes, mtime_ns: every raw file as it was when it was read; -1: not known, or gone.
        read: records, good and bad, that were read for this result and not taken from an earlier one.
        read_rejected: the bad ones of these.
    """

    manifest: Manifest
    rejected: list[Rejected]
    files: pd.DataFrame
    read: int = 0
    read_rejected: tuple[Rejected, ...] = ()

    @classmethod
    def nothing(cls) -> Ingested:
        """Before the first file."""
        return cls(Manifest.empty(), [], SOURCES.empty_table().to_pandas())

    @classmethod
    def load(cls, folder: Path) -> Ingested:
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
        """The same, its files' times of change not known (-1): what differs from machine to machine.

        Extending it reads every file again; what the manifest holds must be found unchanged.
        """
        return replace(self, files=self.files.assign(mtime_ns=-1))


def state_folder(work: Path, spec: DatasetSpec) -> Path:
    """Where the step ingest keeps what it last knew of a data set, times of change included.

    Args:
        work: the step's work folder.
        spec: the data set. Other settings that decide on what an episode is have another folder.
    """
    decisive = {name: getattr(spec, name) for name in ("format", "options", "splits", "lists", "fps", "episode_frames")}
    return work / f"{spec.name}-{digest_json(decisive)[:16]}" / "last"


def decisive(root: Path, spec: DatasetSpec) -> dict[str, Any]:
    """What the data's own small files say on ids and splits beside the recordings, as plain data; {} where nothing."""
    say: Callable[[Path, DatasetSpec], dict[str, Any]] | None = getattr(reader(spec.format), "decisive", None)
    return say(root, spec) if say else {}


def row_of(episode: Episode, splits: Splits, frames: int | None = None) -> Row:
    """The manifest's row of an episode; its stream is read once, in bounded memory.

    Args:
        episode: to be read.
        splits: of the data set.
        frames: every episode's length, where the spec fixes it.

    Raises:
        DataError: the recording has no split, or its stream is bad.
    """
    split = splits.split_of(episode)
    hashed, count, height, width = hashlib.sha256(), 0, 0, 0
    for chunk in episode.chunks():
        hashed.update(np.ascontiguousarray(chunk).data)
        count, (height, width) = count + len(chunk), chunk.shape[1:3]
    if frames is not None and count != frames:
        raise DataError(f"{count} frames, the spec says {frames}")
    return Row(
        episode_id=episode.episode_id,
        split=split,
        recording=episode.recording,
        source=episode.source,
        sha256=hashed.hexdigest(),
        signals_sha256=signals_sha256(episode.actions, episode.states),
        frames=count,
        height=height,
        width=width,
        fps=episode.fps,
        actions=0 if episode.actions is None else episode.actions.shape[1],
    )


def _of_each(
    root: Path, spec: DatasetSpec, source: Source, make: Callable[[Episode], T]
) -> tuple[list[T], list[Rejected]]:
    """What `make` makes of each episode of a source, and its bad records, in its order; nothing is raised for data."""
    made: list[T] = []
    rejected: list[Rejected] = []
    try:
        for record in reader(spec.format).read(root, source, spec):
            if isinstance(record, Rejected):
                rejected.append(replace(record, source=source.name))
                continue
            try:
                made.append(make(record))
            except DataError as error:
                reason = f"{record.episode_id}: {error}"
                rejected.append(Rejected(record.source, record.offset, reason, source.name))
    except DataError as error:
        rejected.append(Rejected(source.name, 0, str(error), source.name))
    except OSError as error:  # a file that is gone, or may not be read
        rejected.append(Rejected(source.name, 0, f"cannot be read: {error.strerror or error}", source.name))
    return made, rejected


def read_source(root: Path, spec: DatasetSpec, splits: Splits, source: Source) -> tuple[str, list[Row], list[Rejected]]:
    """Name, rows and bad records of one source, in its order."""
    rows, rejected = _of_each(root, spec, source, lambda episode: row_of(episode, splits, spec.episode_frames))
    return source.name, rows, rejected


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
    now, then = _states(files), _states(earlier)
    unknown = set(earlier.loc[earlier["mtime_ns"] == -1, "source"])
    return {name for name, state in now.items() if then.get(name) != state or name in unknown}, set(then) - set(now)


def _states(files: pd.DataFrame) -> dict[str, frozenset[tuple[str, int, int]]]:
    """Source -> its files with sizes and times."""
    return {
        str(name): frozenset(zip(group["file"], group["bytes"], group["mtime_ns"], strict=True))
        for name, group in files.groupby("source")
    }


def ingest(
    root: Path,
    sources: Sequence[Source],
    spec: DatasetSpec,
    splits: Splits | None = None,
    *,
    base: Ingested | None = None,
    recheck: bool = False,
    journal: Journal | None = None,
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
        recheck: ask for ids and splits of all of them all the same, without reading frames: what the data says of them
            elsewhere (a list of splits, of episodes to leave out) has changed.
        journal: what an unfinished run has read; added to.
        workers: processes that read.
        stop: once raised, no further source is begun.
        each: called after every source that was read or left out; for progress, and to stop by raising.

    Raises:
        DataError: an id twice, one recording or the same frames in two splits, or an episode of `base` that is gone, or
            has another split or content now.
        StopRequested: `stop` was raised before the last source was read.
    """
    base, splits = base or Ingested.nothing(), splits or Splits.of(spec)
    files = fingerprint(root, sources)
    to_read, gone = changed(files, base.files)
    if gone:
        _refuse_gone(base.manifest, gone, root)
    if recheck:
        _recheck([s for s in sources if s.name not in to_read], base.manifest, root, spec, splits)
    states = _states(files)
    found = journal.found(states) if journal else {}
    found = {name: records for name, records in found.items() if name in to_read}
    for source in sources:
        if source.name not in to_read or source.name in found:
            each(source.name)

    waiting = [source for source in sources if source.name in to_read and source.name not in found]
    left = len(waiting)
    task = functools.partial(read_source, root, spec, splits)
    for name, rows, rejected in work_through(task, waiting, min(workers, max(1, left)), stop=stop, where=str(root)):
        found[name] = rows, rejected
        if journal:
            journal.add(name, states[name], rows, rejected)
        left -= 1
        each(name)
    if left:
        raise StopRequested("while reading raw files; what was read is kept")

    rows = [row for source in sources if source.name in found for row in found[source.name][0]]
    fresh = [bad for source in sources if source.name in found for bad in found[source.name][1]]
    kept = [bad for bad in base.rejected if bad.source not in to_read | gone]
    manifest = base.manifest.append(_new(rows, base.manifest, to_read))
    return Ingested(manifest, kept + fresh, files, len(rows) + len(fresh), tuple(fresh))


def _new(rows: Sequence[Row], manifest: Manifest, read: set[str]) -> list[Row]:
    """The rows that the manifest does not hold yet; those that it holds must be as they were."""
    table = manifest.table[manifest.table["source"].isin(read)]
    there = {row["episode_id"]: row for row in rows}
    for known in table.to_dict("records"):
        now = there.get(known["episode_id"])
        if now is None:
            raise _refusal(known["episode_id"], "is no longer there or has become bad")
        for name, what in (
            ("sha256", "other frames"),
            ("signals_sha256", "other actions or states"),
            ("split", "another split"),
            ("recording", "another recording"),
        ):
            if now[name] != known[name]:  # type: ignore[literal-required]
                raise _refusal(known["episode_id"], f"has {what} now")
    held = set(table["episode_id"])
    return [row for row in rows if row["episode_id"] not in held]


def _recheck(sources: Sequence[Source], manifest: Manifest, root: Path, spec: DatasetSpec, splits: Splits) -> None:
    by_source = {str(name): group for name, group in manifest.table.groupby("source")}
    for source in sources:
        if source.name not in by_source:
            continue
        found = dict(_of_each(root, spec, source, lambda e: (e.episode_id, (splits.split_of(e), e.recording)))[0])
        group = by_source[source.name]
        for episode_id, split, recording in zip(group["episode_id"], group["split"], group["recording"], strict=True):
            if episode_id not in found:
                raise _refusal(episode_id, "is left out now")
            if found[episode_id] != (split, recording):
                raise _refusal(episode_id, "has another split or recording now")


def _refusal(episode_id: str, what: str) -> DataError:
    return DataError(f"{episode_id} {what}, but an earlier manifest holds it, and a manifest only grows: {ANEW}")


def _refuse_gone(manifest: Manifest, gone: set[str], root: Path) -> None:
    lost = manifest.table[manifest.table["source"].isin(gone)]
    if len(lost):
        raise DataError(
            f"{root}: {lost['source'].nunique()} raw files are gone that an earlier manifest names, the first is "
            f"{lost['source'].iloc[0]}: {ANEW}"
        )
