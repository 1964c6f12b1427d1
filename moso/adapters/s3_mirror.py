"""A prefix of a bucket as a folder: parallel, resumable, checked, and nothing read again that is there.

Beside `<folder>` lies `<folder>.s3/`: objects.jsonl (a line an object that has arrived: its size, ETag, and what it was
checked by) and partial/ (what is on its way, with what it belongs to). An object appears in the folder whole or not at
all. Nothing in the folder is ever deleted: objects that are gone from the bucket are reported.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from moso.adapters.s3 import PATIENCE, Bucket, Checks, Patience, S3Address, S3Object
from moso.adapters.s3_errors import Changed, Damaged, Gone, Interrupted, S3Error
from moso.adapters.s3_journal import Journal
from moso.adapters.s3_keys import folds_case, plan, relative_key
from moso.adapters.s3_partial import Partial, verify
from moso.datasets.episode import Rejected
from moso.errors import ConfigError, StopRequested
from moso.progress import Progress
from moso.provenance import digest_json
from moso.step import StopSignal

GAIN = 1 << 20
"""Bytes that must have come since the last failure for it to be forgotten: a server that gives one byte a time ends."""
VERSIONS = 3
"""How often an object may change, or arrive damaged, before it is given up."""
POLL_S = 0.1


@dataclass(frozen=True)
class Mirrored:
    """What a mirroring did.

    Attributes:
        folder: the mirror.
        fetched: objects that were read to their end.
        unchanged: objects that were there already.
        bytes: bytes received.
        gone: paths in the folder whose object is not in the bucket any more; they are kept.
        rejected: objects that could not be had (denied, damaged in the bucket) or whose key is no path inside the
            folder, or is another's; `file` is the key relative to the prefix.
    """

    folder: Path
    fetched: int
    unchanged: int
    bytes: int
    gone: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def mirror_folder(work: Path, url: str, endpoint: str | None) -> Path:
    """Where the steps keep the mirror of a prefix below the folder `work` that they share."""
    return work / "raw" / digest_json({"url": url, "endpoint": endpoint})[:16] / "objects"


def journal_of(folder: Path) -> Path:
    """The journal of a mirror: what has arrived (moso.adapters.s3_journal)."""
    return folder.with_name(f"{folder.name}.s3") / "objects.jsonl"


def mirror(
    url: str,
    folder: Path,
    *,
    endpoint: str | None = None,
    workers: int = 8,
    patience: Patience = PATIENCE,
    stop: StopSignal | None = None,
) -> Mirrored:
    """Bring `folder` up to date with what lies under `url`.

    One process at a time may mirror into a folder; the caller sees to that.

    Args:
        url: s3://bucket/prefix, or the address of one object, which then is the folder's only file.
        folder: made where it is missing.
        endpoint: see moso.adapters.s3.Bucket.
        workers: objects read at once.
        patience: with the server.
        stop: ends the work between two blocks; what has come is kept.

    Raises:
        ConfigError: `url` is no S3 address.
        S3Error: something that needs a person, and is not a matter of single objects; what has come is kept, and the
            next call goes on from there. Also where no object at all could be had.
        DataError: nothing lies under `url`.
        StopRequested: by `stop`.
    """
    if workers < 1:
        raise ConfigError("workers", workers, "must be at least 1")
    address = S3Address.parse(url)
    bucket = Bucket(address, endpoint=endpoint, patience=patience, connections=workers)
    folder.mkdir(parents=True, exist_ok=True)
    journal_path = journal_of(folder)
    state = journal_path.parent
    (state / "partial").mkdir(parents=True, exist_ok=True)

    items: list[S3Object] = []
    for item in bucket.objects():
        items.append(item)
        if stop:
            raise StopRequested(f"while listing {address}")
    places, refused = plan(address, items, folds_case(state))
    with Journal(journal_path) as journal:
        todo = [item for item in items if item.key in places and not journal.has(places[item.key], item, folder)]
        fetching = _Fetching(bucket, folder, state / "partial", journal, places, patience, stop)
        fetching.run(todo, workers)
        kept = {str(path) for path in places.values()}
        gone = sorted({*(name for name in journal.entries if name not in kept), *fetching.gone})
    failed = fetching.failed
    if failed and len(failed) == len(places):
        more = f"; so did all of the {len(failed)} objects" if len(failed) > 1 else ""
        raise S3Error(f"{next(iter(failed.values()))}{more}")
    shutil.rmtree(state / "partial")
    reasons = dict(refused)
    for key, error in failed.items():
        stays = "; an earlier version of it stays in the mirror" if (folder / places[key]).is_file() else ""
        reasons[key] = f"{error}{stays}"
    return Mirrored(
        folder,
        fetched=len(todo) - len(fetching.gone) - len(failed),
        unchanged=len(places) - len(todo),
        bytes=fetching.bytes,
        gone=tuple(name for name in gone if (folder / name).exists()),
        rejected=tuple(Rejected(relative_key(address, key), 0, reasons[key]) for key in sorted(reasons)),
    )


class _Fetching:
    """Workers that take objects from one list; the first error that concerns all of them ends it."""

    def __init__(
        self,
        bucket: Bucket,
        folder: Path,
        partial: Path,
        journal: Journal,
        places: dict[str, PurePosixPath],
        patience: Patience,
        stop: StopSignal | None,
    ) -> None:
        self.bucket, self.folder, self.partial, self.journal = bucket, folder, partial, journal
        self.places, self.patience, self.stop = places, patience, stop
        self.bytes = 0
        self.gone: list[str] = []
        self.failed: dict[str, S3Error] = {}
        self._halt = threading.Event()
        self._lock = threading.Lock()

    def run(self, todo: list[S3Object], workers: int) -> None:
        """Fetch all of `todo` but what fails by itself (`failed`: by key), or raise what concerns all."""
        if not todo:
            return
        self._queue, self._total = iter(todo), sum(item.bytes for item in todo)
        with (
            Progress(f"mirror {self.bucket.address}", len(todo), "objects") as self._progress,
            ThreadPoolExecutor(min(workers, len(todo)), "mirror") as pool,
        ):
            pending = {pool.submit(self._work) for _ in range(min(workers, len(todo)))}
            try:
                while pending:
                    done, pending = wait(pending, POLL_S, FIRST_EXCEPTION)
                    for future in done:
                        future.result()
                    if self.stop:
                        raise StopRequested(f"while mirroring {self.bucket.address}: what has come is kept")
            finally:
                self._halt.set()

    def _work(self) -> None:
        while not self._halting():
            with self._lock:
                item = next(self._queue, None)
            if item is None:
                return
            try:
                self._fetch(item)
            except _Halted:
                return
            except Gone:
                self.gone.append(str(self.places[item.key]))
            except S3Error as error:
                if error.everywhere:
                    raise
                self.failed[item.key] = error
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                # The bucket had a/b, the mirror keeps it, and now the bucket has a; or the other way round.
                path = self.folder / self.places[item.key]
                self.failed[item.key] = S3Error(f"{path}: what was mirrored earlier is in its way; remove that")
            except OSError as error:
                raise S3Error(
                    f"{self.folder / self.places[item.key]}: {error.strerror or error}; run again after"
                ) from error
            self._show(objects=1)

    def _fetch(self, item: S3Object) -> None:
        """Read one object to its end through whatever fails in between."""
        partial, failures, versions, last, changed = Partial(self.partial, item), 0, 1, 0, False
        while True:
            try:
                if changed:
                    partial = Partial(self.partial, self.bucket.look(item.key))
                    partial.discard()
                    changed = False
                checks = self._read(partial)
                checked = verify(partial.file, partial.item, checks)
                break
            except (Changed, Damaged) as error:
                versions += 1
                if versions > VERSIONS:
                    raise
                partial.discard()
                changed, last = isinstance(error, Changed), 0
            except Interrupted:
                have = partial.begin()[0]
                failures = 1 if have - last >= GAIN else failures + 1
                last = have
                if failures >= self.patience.attempts:
                    raise
                self._pause(failures)
        path = self.places[item.key]
        partial.become(self.folder / path)
        self.journal.add(path, partial.item, self.folder / path, checked)

    def _read(self, partial: Partial) -> Checks:
        """Bring the partial file to its full length."""
        have, checks = partial.begin()
        if have == partial.item.bytes > 0:
            return checks
        if partial.item.bytes == 0:
            partial.file.touch()
            return checks
        body = self.bucket.read(partial.item, have)
        if have == 0:
            checks = body.checks
            partial.belongs(checks)
        have = body.first  # 0 from a server that knows no ranges
        with partial.file.open("r+b" if partial.file.exists() else "wb") as file, contextlib.closing(body.blocks):
            file.truncate(body.first)
            file.seek(body.first)
            for block in body.blocks:
                file.write(block)
                have += len(block)
                self._show(received=len(block))
                if have > partial.item.bytes:
                    raise Damaged(f"{self.bucket.address}: {partial.item.key} is longer than listed", everywhere=False)
                if self._halting():
                    raise _Halted
            file.flush()
            os.fsync(file.fileno())
        if have < partial.item.bytes:
            raise Interrupted(f"s3://{self.bucket.address.bucket}/{partial.item.key}: the answer ended early")
        return checks

    def _halting(self) -> bool:
        return self._halt.is_set() or bool(self.stop)

    def _pause(self, failures: int) -> None:
        longest = min(self.patience.pause_s * 2 ** (failures - 1), self.patience.longest_pause_s)
        # Apart in time, so that workers that failed together do not come back together; no part of any result.
        if self._halt.wait(longest * random.uniform(0.5, 1.0)):
            raise _Halted

    def _show(self, objects: int = 0, received: int = 0) -> None:
        with self._lock:
            self.bytes += received
            self._progress.advance(objects, f"{self.bytes / 1e6:.1f} of {self._total / 1e6:.1f} MB")


class _Halted(Exception):
    """Another worker failed, or the stop signal was raised."""
