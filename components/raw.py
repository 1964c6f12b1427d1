"""Where a data set's raw files are: a folder, an archive, or a prefix in S3, made into one folder that readers read.

ingest and preprocess both ask here, with the same answer. What is fetched or unpacked lies below work/raw/<digest of
the source>: `objects` (the mirror of the bucket), `unpacked` (a folder a version of an archive) and `trees` (all of it
as one tree, by links). The user's own files are never written to.

What was unpacked or linked is never changed: another version gets another name. What a process was given it may use for
as long as it lives: older versions go when no other process uses the source.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from moso.datasets.archives import Limits, unpack_once
from moso.datasets.episode import Rejected
from moso.datasets.folders import files_of
from moso.datasets.spec import DatasetSpec
from moso.errors import ConfigError, DataError
from moso.lock import hold
from moso.provenance import atomic_folder, digest_json
from moso.step import StopSignal

SHOWN = 3


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
        from moso.adapters.s3_mirror import mirror_folder

        folder = mirror_folder(work.absolute(), place, source.endpoint)
        with _held(folder.parent, stop) as own:
            objects = _mirror(place, folder, source.endpoint, stop)
            return replace(objects, root=_with_archives(objects, source.archives, own, limits, stop))
    path = Path(place).expanduser().absolute()
    if path.is_file():
        with _held(_own(work, {"archive": str(path)}), stop) as own:
            folder = _unpacked(path, path.name, own, limits, stop)
            _use(own, {folder})
            return Raw(folder)
    if not path.is_dir():
        remedy = "correct source.path in data/specs, or name another place with `-S ingest.raw=…`"
        raise DataError(f"{path}: no such folder or archive of raw files of {spec.name}; {remedy}")
    if not source.archives:
        return Raw(path)
    with _held(_own(work, {"folder": str(path)}), stop) as own:
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
    for path in files_of(root, follow=True):  # as readers do where there are no archives
        if path not in archives:
            files[path.relative_to(root).as_posix()] = path
    used: set[Path] = set()
    for archive in sorted(archives):
        place = archive.relative_to(root)
        folder = _unpacked(archive, place.as_posix(), own, limits, stop)
        used.add(folder)
        for path in files_of(folder):
            name = (place.parent / path.relative_to(folder)).as_posix()
            if name in files:
                raise DataError(f"{archive}: {name} is in another archive too, or beside it; remove one of them")
            files[name] = path
    tree = _linked(files, own)
    _use(own, {*used, tree})
    return tree


def _unpacked(archive: Path, name: str, own: Path, limits: Limits, stop: StopSignal | None) -> Path:
    """The folder of this version of an archive, as size and time tell it; unpacked where it is not there."""
    about = archive.stat()
    version = {"archive": name, "bytes": about.st_size, "mtime_ns": about.st_mtime_ns}
    folder = own / "unpacked" / digest_json(version)[:16]
    folder.parent.mkdir(exist_ok=True)
    unpack_once(archive, folder, limits=limits, stop=stop)
    return folder


def _linked(files: dict[str, Path], own: Path) -> Path:
    """The folder of links to `files` (name -> file), made where it is not there."""
    root = own / "trees" / digest_json({name: str(path) for name, path in files.items()})[:16]
    if root.is_dir():
        return root
    with atomic_folder(root) as folder:
        for name, path in files.items():
            link = folder / name
            try:
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
            except (FileExistsError, NotADirectoryError):
                raise DataError(f"{path}: {name} is a file in one archive and a folder in another") from None
    return root


def _use(own: Path, wanted: set[Path]) -> None:
    """Keep what lies in `own` until this process ends; remove all but `wanted` where no process uses any of it.

    Called while `own` is held, so that nothing is removed between being found and being used.
    """
    if own in _USED:
        return
    file = _USED[own] = (own / "used").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        kept = {path.name for path in wanted}
        for path in (*own.glob("unpacked/*"), *own.glob("trees/*")):
            if path.name.removesuffix(".unpacked.json") not in kept:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    fcntl.flock(file, fcntl.LOCK_SH)


_USED: dict[Path, IO[str]] = {}
"""Sources that this process uses: files it holds a shared lock on. The system lets go of them when the process ends."""


def _own(work: Path, source: dict[str, str]) -> Path:
    """The source's own folder below `work`; a bucket's is that of moso.adapters.s3_mirror.mirror_folder."""
    return work.absolute() / "raw" / digest_json(source)[:16]


@contextlib.contextmanager
def _held(own: Path, stop: StopSignal | None) -> Iterator[Path]:
    """`own`, made where it is missing, while no other process writes to it."""
    own.mkdir(parents=True, exist_ok=True)
    with hold(own, "fetching or unpacking raw files", wait=True, stop=stop):
        yield own
