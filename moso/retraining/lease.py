"""One retraining at a time: a lock in the artefact store, with an owner and an expiry.

A place holds one small record. It is made exclusively (two that try at once: one succeeds) and changed only by who
names the version that it has just read, so that of two that take over an expired lock one succeeds. Letting go writes
an expiry that has passed: no store needs a conditional delete.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from moso.errors import FormatError, MosoError

NAME = "retraining.lock.json"


class LeaseHeld(MosoError):
    """Another owner holds the lock, and it has not expired."""


class LeaseLost(MosoError):
    """The lock is not ours any more: it expired, and another owner took it."""


@dataclass(frozen=True)
class Record:
    """What lies in the place.

    Attributes:
        owner: host, process and a random word: no two owners are equal.
        until: seconds since 1970 at which it expires; 0: let go of.
    """

    owner: str
    until: float

    def text(self) -> str:
        """As JSON."""
        return json.dumps({"format": "moso.lease", "format_version": 1, **asdict(self)})

    @classmethod
    def parse(cls, text: str, where: str) -> Record:
        """The record in `text`.

        Raises:
            FormatError: it is none.
        """
        try:
            found = json.loads(text)
            return cls(str(found["owner"]), float(found["until"]))
        except (ValueError, KeyError, TypeError):
            raise FormatError(f"{where}: no lock of moso's ({text[:40]!r}); look at it, and remove it") from None


class Place(Protocol):
    """Where a lock lies."""

    @property
    def where(self) -> str:
        """For messages."""

    def create(self, text: str) -> str | None:
        """Write `text` where nothing is: the version written, or None where something is."""

    def read(self) -> tuple[str, str] | None:
        """Text and version; None where nothing is."""

    def replace(self, text: str, version: str) -> str | None:
        """Write `text` where that version still is: the version written, or None where another one is."""


class FolderPlace:
    """A lock in a folder that all who retrain can reach."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / NAME

    @property
    def where(self) -> str:
        return str(self.path)

    def create(self, text: str) -> str | None:
        with self._alone():
            temporary = self._written(text)
            try:
                os.link(temporary, self.path)  # exclusive like O_EXCL, and the content is there at once
            except FileExistsError:
                return None
            finally:
                temporary.unlink()
        return text

    def read(self) -> tuple[str, str] | None:
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return None
        return text, text  # an owner is never the same twice, so the text is its own version

    def replace(self, text: str, version: str) -> str | None:
        with self._alone():
            if self.read() != (version, version):
                return None
            os.replace(self._written(text), self.path)
        return text

    def _written(self, text: str) -> Path:
        temporary = self.path.with_name(f".{NAME}.{uuid.uuid4().hex}")
        with temporary.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return temporary

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self.path.with_suffix(".guard").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield


class Lease:
    """The lock as this owner holds it. Made by `take`.

    Attributes:
        lost: set by `holding`: it is not ours any more, and nothing outside may be changed.
    """

    def __init__(self, place: Place, owner: str, version: str, seconds: float, clock: Callable[[], float]) -> None:
        self.place, self.owner, self.seconds = place, owner, seconds
        self._version, self._clock, self.lost = version, clock, False
        self._alone = threading.Lock()  # `holding` renews in a thread, and the body may ask for it too

    def renew(self) -> None:
        """Put the expiry off. One that has passed unnoticed (a machine that slept) is ours again where nobody took it.

        Raises:
            LeaseLost: another owner has taken it.
        """
        self._write(self._clock() + self.seconds)

    def release(self) -> None:
        """Let go of it.

        Raises:
            LeaseLost: another owner has it; it is left to that one.
        """
        self._write(0.0)

    def _write(self, until: float) -> None:
        text = Record(self.owner, until).text()
        with self._alone:
            version = self.place.replace(text, self._version)
            if version is None:
                # A write whose answer was lost on the way has left another version, and it is ours all the same.
                found = self.place.read()
                if found and Record.parse(found[0], self.place.where).owner == self.owner:
                    version = self.place.replace(text, found[1])
            if version is None:
                raise LeaseLost(f"{self.place.where}: the lock expired, and another owner took it")
            self._version = version


def new_owner() -> str:
    """This process, and a word that no other owner has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


def take(place: Place, seconds: float, *, owner: str | None = None, clock: Callable[[], float] = time.time) -> Lease:
    """Take the lock; one that has expired is taken over, and an owner who has it already goes on with it.

    Args:
        place: where it lies.
        seconds: after which it expires, unless it is renewed.
        owner: `new_owner` by default. One that several processes name in turn (a run on Kubeflow) is their own business
            to keep to one process at a time.
        clock: seconds since 1970. Machines that share a lock must agree on it to well within `seconds`.

    Raises:
        LeaseHeld: another owner holds it.
        FormatError: something else lies there.
        MosoError: the store knows no conditional writes, or does not answer.
    """
    owner = owner or new_owner()
    text = Record(owner, clock() + seconds).text()
    version = place.create(text)
    if version is None:
        found = place.read()
        version = place.create(text) if found is None else _take_over(place, found, text, clock())
    elif place.create(text) is not None:
        raise MosoError(
            f"{place.where}: this store writes over what it was asked to make only where nothing is, and cannot hold "
            "the lock: two would take it at once; name another place in `lock` (a folder, or an S3 with such writes)"
        )
    if version is None:
        raise LeaseHeld(f"{place.where}: another retraining has just taken the lock; let it finish")
    return Lease(place, owner, version, seconds, clock)


def rejoin(place: Place, seconds: float, owner: str, *, clock: Callable[[], float] = time.time) -> Lease:
    """Go on with the lock that this owner took in another process, and put its expiry off.

    Raises:
        LeaseLost: another owner has it, or it was let go of.
        FormatError: something else lies there.
    """
    found = place.read()
    record = Record.parse(found[0], place.where) if found else None
    version = None
    if found and record and record.owner == owner and record.until > 0:
        version = place.replace(Record(owner, clock() + seconds).text(), found[1])
    if version is None:
        raise LeaseLost(f"{place.where}: {owner} does not have the lock any more")
    return Lease(place, owner, version, seconds, clock)


def _take_over(place: Place, found: tuple[str, str], text: str, now: float) -> str | None:
    record = Record.parse(found[0], place.where)
    if record.until > now and record.owner != Record.parse(text, place.where).owner:
        left = record.until - now
        raise LeaseHeld(
            f"{place.where}: held by {record.owner}, and expires in {left:.0f} s unless it is renewed; let that "
            "retraining finish, or wait until the lock expires"
        )
    return place.replace(text, found[1])


@contextlib.contextmanager
def holding(place: Place, seconds: float, on_loss: Callable[[], None]) -> Iterator[Lease]:
    """Hold the lock, renewed in the background, while the body runs.

    Args:
        place: where it lies.
        seconds: after which it expires when this process dies.
        on_loss: called once, in another thread, when it is lost: the body must then stop changing anything.

    Raises:
        LeaseHeld: another owner holds it.
    """
    lease = take(place, seconds)
    done = threading.Event()

    def lose() -> None:
        lease.lost = True
        on_loss()

    def keep() -> None:
        renewed = time.monotonic()
        while not done.wait(seconds / 4):
            try:
                lease.renew()
                renewed = time.monotonic()
            except LeaseLost:
                return lose()
            except Exception as error:  # the store is away, or worse: ask again, as long as the lock is surely ours
                _say(f"could not be renewed ({type(error).__name__}: {error})")
                if time.monotonic() - renewed > seconds / 2:
                    return lose()

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join()
        try:
            lease.release()
        except (MosoError, OSError) as error:  # the body's end, good or bad, is what the caller must hear of
            _say(f"could not be let go of ({error}); it expires by itself")


def _say(text: str) -> None:
    print(f"retraining: the lock {text}", file=sys.stderr, flush=True)
