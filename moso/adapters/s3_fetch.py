"""Objects of a bucket on their way into a folder: several at a time, through whatever fails in between."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path, PurePosixPath

from moso.adapters.s3 import Bucket, Checks, S3Object
from moso.adapters.s3_errors import Changed, Damaged, Gone, Interrupted, S3Error
from moso.adapters.s3_journal import Journal
from moso.adapters.s3_partial import Partial, verify
from moso.adapters.s3_patience import Patience
from moso.errors import StopRequested
from moso.progress import Progress
from moso.step import StopSignal

GAIN = 1 << 20
"""Bytes that must have come since the last failure for it to be forgotten: a server that gives one byte a time ends."""
VERSIONS = 3
"""How often an object may change, or arrive damaged, before it is given up."""
WITNESSES = 4
"""Other objects that are asked for a byte, besides the last that arrived, before the server is said to be away."""
IN_A_ROW = 32
"""Objects that broke off, and none that arrived in between, after which it is no matter of single objects."""
POLL_S = 0.1


class Fetching:
    """Workers that take objects from one list; the first error that concerns all of them ends it.

    Attributes:
        bytes: received.
        gone: paths of objects that were listed and then not there.
        failed: key -> why that object alone could not be had.
        kept: names of the partial files (Partial.file) of those that broke off: the next run goes on from them.
    """

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
        self.kept: set[str] = set()
        self._last: S3Object | None = None
        self._in_a_row = 0
        self._halt = threading.Event()
        self._lock = threading.Lock()

    def run(self, todo: list[S3Object], among: list[S3Object], workers: int) -> None:
        """Fetch all of `todo` but what fails by itself (`failed`), or raise what concerns all.

        Args:
            todo: to be fetched.
            among: everything that the bucket lists, `todo` too: what tells a bad object from a server that is away.
            workers: objects read at once.
        """
        if not todo:
            return
        self._among = among
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
            except Interrupted as error:
                have = partial.begin()[0]
                failures = 1 if have - last >= GAIN else failures + 1
                last = have
                if failures >= self.patience.attempts:
                    if not self._others_answer(item):
                        raise
                    raise self._set_aside(partial, have, error) from error
                self._pause(failures)
        path = self.places[item.key]
        partial.become(self.folder / path)
        self.journal.add(path, partial.item, self.folder / path, checked)
        with self._lock:
            self._last, self._in_a_row = partial.item, 0

    def _others_answer(self, item: S3Object) -> bool:
        """Whether the server gives the last byte of one of a few other objects: then it is not away."""
        with self._lock:
            known = [other for other in self._among if other.key not in {item.key, *self.failed}]
            apart = [known[n * (len(known) - 1) // (WITNESSES - 1)] for n in range(WITNESSES)] if known else []
            chosen = {other.key: other for other in ([self._last] if self._last else []) + apart}
        for other in chosen.values():
            try:
                for _ in self.bucket.read(other, max(other.bytes - 1, 0)).blocks:
                    pass
                return True
            except S3Error:
                if self._halting():
                    raise _Halted from None
        return False

    def _set_aside(self, partial: Partial, have: int, error: Interrupted) -> S3Error:
        """The error of an object that always breaks off; one that ends the run where it is one of many."""
        with self._lock:
            self._in_a_row += 1
            self.kept.add(partial.file.name)
            many = self._in_a_row
        item, tries = partial.item, self.patience.attempts
        said = (
            f"{self.bucket.where(item.key)}: broke off {tries} times in a row, at last at byte {have} of "
            f"{item.bytes} ({error.reason}), while {self.bucket.server} gives other objects"
        )
        if many < IN_A_ROW:
            return S3Error(said, everywhere=False)
        return S3Error(f"{said}; it is the {many}th in a row: see to the server, then run again: what has come stays")

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
            raise Interrupted(self.bucket.where(partial.item.key), self.bucket.server, "the answer ended early")
        return checks

    def _halting(self) -> bool:
        return self._halt.is_set() or bool(self.stop)

    def _pause(self, failures: int) -> None:
        if self._halt.wait(self.patience.pause(failures)):
            raise _Halted

    def _show(self, objects: int = 0, received: int = 0) -> None:
        with self._lock:
            self.bytes += received
            self._progress.advance(objects, f"{self.bytes / 1e6:.1f} of {self._total / 1e6:.1f} MB")


class _Halted(Exception):
    """Another worker failed, or the stop signal was raised."""
