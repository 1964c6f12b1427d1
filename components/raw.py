"""Where a data set's raw files are: a folder, an archive, or a prefix in S3, made into one folder that readers read.

ingest and preprocess both ask here, with the same answer. What is fetched or unpacked lies below work/raw/<digest of
the source>: `objects` (the mirror of the bucket), `unpacked` (a folder an archive) and `root` (all of it as one tree,
by links). The user's own files are never written to.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from moso.datasets.archives import Limits, unpack_once
from moso.datasets.episode import Rejected
from moso.datasets.spec import DatasetSpec
from moso.errors import ConfigError, DataError, StopRequested
from moso.provenance import atomic_folder, digest_json
from moso.step import StopSignal

SHOWN = 3
POLL_S = 0.2


@dataclass(frozen=True)
class Raw:
    """Raw files, ready to be read.

    Attributes:
        root: the folder that holds them.
        rejected: what could not be had, for the quarantine table: objects of a bucket that are denied, damaged there,
            or whose key is no path; `file` is relative to the root that they would be in.
    """

    root: Path
    rejected: tuple[Rejected, ...] = ()


def raw_root(spec: DatasetSpec, override: str | None, work: Path, stop: StopSignal | None) -> Raw:
    """The raw files of `spec`, brought up to date.

    Args:
        spec: the data set; not a simulated one.
        override: another place than the spec's (`ingest.raw`): a folder, an archive, or s3://bucket/prefix.
        work: where things may be put (`context.work.parent`, which ingest and preprocess share).
        stop: ends fetching and unpacking; the next call goes on.

    Raises:
        ConfigError: the source is no such thing.
        DataError: it is missing, or damaged.
        MosoError: S3 or the disk needs a person.
        StopRequested: by `stop`.
    """
    source = spec.source
    if source.kind == "simulate":
        raise ConfigError("source.kind", source.kind, "is not read from anywhere: it is simulated")
    place = override or source.url or source.path or f"data/{spec.name}/raw"
    limits = Limits(bytes=int(source.limit_gigabytes * 10**9))

    if place.startswith("s3://"):
        with _held(work, {"url": place, "endpoint": source.endpoint}, stop) as own:
            objects = _mirror(place, own / "objects", source.endpoint, stop)
            return replace(objects, root=_with_archives(objects, source.archives, own, limits, stop))
    path = Path(place).expanduser().absolute()
    if path.is_file():
        with _held(work, {"archive": str(path)}, stop) as own:
            unpack_once(path, own / "unpacked", limits=limits, stop=stop)
            return Raw(own / "unpacked")
    if not path.is_dir():
        remedy = "correct source.path in data/specs, or name another place with `-S ingest.raw=…`"
        raise DataError(f"{path}: no such folder or archive of raw files of {spec.name}; {remedy}")
    if not source.archives:
        return Raw(path)
    with _held(work, {"folder": str(path)}, stop) as own:
        return Raw(_with_archives(Raw(path), source.archives, own, limits, stop))


def _mirror(url: str, folder: Path, endpoint: str | None, stop: StopSignal | None) -> Raw:
    from moso.adapters.s3_mirror import mirror

    done = mirror(url, folder, endpoint=endpoint, stop=stop)
    print(f"{url}: {done.fetched} objects fetched, {done.unchanged} unchanged", file=sys.stderr)
    for record in done.rejected[:SHOWN]:
        print(f"{url}: left out {record.file!r}: {record.reason}", file=sys.stderr)
    if len(done.rejected) > SHOWN:
        print(f"{url}: {len(done.rejected)} objects are left out in all", file=sys.stderr)
    if done.gone:
        names = ", ".join(done.gone[:SHOWN]) + (", …" if len(done.gone) > SHOWN else "")
        print(f"{url}: {len(done.gone)} files are gone from the bucket and kept in {folder}: {names}", file=sys.stderr)
    return Raw(folder, done.rejected)


def _with_archives(raw: Raw, patterns: tuple[str, ...], own: Path, limits: Limits, stop: StopSignal | None) -> Path:
    """Its root itself where no pattern asks for more; else a tree of links: its files, and each archive's in its place.

    Raises:
        DataError: a pattern matches nothing, or two archives hold the same file.
    """
    root = raw.root
    if not patterns:
        return root
    archives: set[Path] = set()
    for pattern in patterns:
        found = {path for path in root.glob(pattern) if path.is_file()}
        if not found:
            lost = [record for record in raw.rejected if PurePosixPath(record.file).match(pattern)]
            why = f"; {lost[0].file} could not be had: {lost[0].reason}" if lost else ""
            raise DataError(f"{root}: no archive matches {pattern!r} of source.archives{why}")
        archives |= found
    files: dict[str, Path] = {}
    for path in _files(root):
        if path not in archives:
            files[path.relative_to(root).as_posix()] = path
    for archive in sorted(archives):
        place = archive.relative_to(root)
        folder = own / "unpacked" / hashlib.sha256(place.as_posix().encode()).hexdigest()[:16]
        folder.parent.mkdir(exist_ok=True)
        unpack_once(archive, folder, limits=limits, stop=stop)
        for path in _files(folder):
            name = (place.parent / path.relative_to(folder)).as_posix()
            if name in files:
                raise DataError(f"{archive}: {name} is in another archive too, or beside it; remove one of them")
            files[name] = path
    return _linked(files, own / "root")


def _linked(files: dict[str, Path], root: Path) -> Path:
    """A folder of links to `files` (name -> file), made anew only where another set is wanted."""
    wanted = digest_json({name: str(path) for name, path in files.items()})
    marker = root.with_name("root.digest")
    if root.is_dir() and marker.exists() and marker.read_text() == wanted:
        return root
    marker.unlink(missing_ok=True)
    with atomic_folder(root) as folder:
        for name, path in files.items():
            link = folder / name
            try:
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
            except (FileExistsError, NotADirectoryError):
                raise DataError(f"{path}: {name} is a file in one archive and a folder in another") from None
    marker.write_text(wanted)
    return root


def _files(root: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(root):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))


@contextlib.contextmanager
def _held(work: Path, source: dict[str, str | None], stop: StopSignal | None) -> Iterator[Path]:
    """The source's own folder below `work`, while no other process writes to it."""
    own = work.absolute() / "raw" / digest_json(source)[:16]
    own.mkdir(parents=True, exist_ok=True)
    with (own / "lock").open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    print(f"{own}: another process is fetching this data; waiting for it", file=sys.stderr)
                told = True
                time.sleep(POLL_S)
            if stop:
                raise StopRequested("while waiting for another process that fetches the same data")
        yield own
