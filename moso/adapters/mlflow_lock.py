"""One writer at a time for a registered model, over whatever store holds the registry.

An sqlite database has a lock file beside it, which the system lets go of when its holder dies. A server offers neither
locks nor compare-and-set, but creating a registered model of a name that is taken fails on every store, atomically. So
the lock is a row of generations, `<model>.lock.000007`: who creates the next one holds it.

    free        the newest generation has the tag moso.lock.released
    held        it has not, and its tag moso.lock.beat changes while the holder lives (a thread renews it)
    left over   it has not, and its beat stood still for `lease_s` while a waiter watched: the waiter's own clock
                decides, no two machines' clocks are compared. The waiter creates the next generation.

The newest generation is never removed, so that numbers only rise. Older ones are. A waiter that slept between looking
and creating may thus create an old number anew: it looks again afterwards, finds a newer one and gives its own back.
A holder that slept for longer than the lease finds the newer one, too, at `check`, before it changes anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from moso.adapters.mlflow_client import TrackingError, connect, reported, sqlite_file
from moso.adapters.redact import redact
from moso.lock import hold as hold_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

OWNER, BEAT, RELEASED = "moso.lock.owner", "moso.lock.beat", "moso.lock.released"
GENERATION = re.compile(r"(?P<model>.+)\.lock\.(?P<number>\d{6,})")
LEASE_S = 60.0  # no source: a stalled network is waited for, a person is not kept for long
POLL_S = 0.2


def owner() -> str:
    """ "host:pid", as a person looks for it."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextlib.contextmanager
def hold(tracking_uri: str, model: str, lease_s: float = LEASE_S) -> Iterator[Callable[[], None]]:
    """Hold the registered model `model` for writing; waits for another holder.

    Args:
        tracking_uri: of the registry.
        model: the registered model's name.
        lease_s: for how long a holder's beat may stand still before it counts as dead, on a server.

    Yields:
        check(): nothing while the lock is held; TrackingError once another took it over. Call it before each change.

    Raises:
        TrackingError: the registry cannot be asked.
    """
    database = sqlite_file(tracking_uri)
    if database is not None:
        folder = database.parent / ".locks" / model
        folder.mkdir(parents=True, exist_ok=True)
        with hold_folder(folder, f"promoting {model}", wait=True):
            yield lambda: None
        return
    lock = _Generations(connect(tracking_uri), redact(tracking_uri), model, lease_s)
    lock.take()
    beating = threading.Thread(target=lock.beat_on, name="registry-lock", daemon=True)
    beating.start()
    try:
        yield lock.check
    finally:
        lock.ending.set()
        beating.join()
        lock.release()


class _Generations:
    def __init__(self, client: MlflowClient, address: str, model: str, lease_s: float) -> None:
        self.client, self.model, self.lease_s = client, model, lease_s
        self.number = 0
        self.ending = threading.Event()
        self._failed = f"the lock of {model} at {address}"

    def name(self, number: int) -> str:
        return f"{self.model}.lock.{number:06d}"

    def take(self) -> None:
        """Wait until the next generation is ours."""
        seen: tuple[int, str] | None = None
        since = time.monotonic()
        with reported(self._failed):
            while True:
                asked = time.monotonic()
                newest, tags = self._newest()
                now = (newest, tags.get(BEAT, ""))
                # A server that was away took no beat from the holder either.
                if now != seen or time.monotonic() - asked > self.lease_s / 4:
                    seen, since = now, time.monotonic()
                free = newest == 0 or RELEASED in tags
                if (free or time.monotonic() - since >= self.lease_s) and self._create(newest + 1):
                    if self._newest()[0] == newest + 1:
                        self.number = newest + 1
                        self._tidy()
                        return
                    self._remove(newest + 1)
                time.sleep(POLL_S)

    def check(self) -> None:
        with reported(self._failed):
            newest = self._newest()[0]
        if newest != self.number:
            raise TrackingError(
                f"{self._failed} was taken over after {self.lease_s:g} s without a sign of life from here; "
                "nothing was changed since, do it again"
            )

    def beat_on(self) -> None:
        while not self.ending.wait(self.lease_s / 6):
            # A server that is away for a moment is asked again; who holds the lock is decided by `check`.
            with contextlib.suppress(Exception):
                self.client.set_registered_model_tag(self.name(self.number), BEAT, uuid.uuid4().hex)

    def release(self) -> None:
        # Where the server is away, the lease ends it.
        with contextlib.suppress(Exception):
            self.client.set_registered_model_tag(self.name(self.number), RELEASED, "true")

    def _newest(self) -> tuple[int, dict[str, str]]:
        found = self._generations()
        if not found:
            return 0, {}
        newest = max(found)
        return newest, dict(found[newest].tags)

    def _generations(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        token = None
        while True:
            page = self.client.search_registered_models(f"name LIKE '{self.model}.lock.%'", page_token=token)
            for entity in page:
                # LIKE takes "_" for any character: moso-a_b's search finds the locks of moso-a.b, too.
                match = GENERATION.fullmatch(entity.name)
                if match and match["model"] == self.model:
                    found[int(match["number"])] = entity
            token = page.token
            if not token:
                return found

    def _create(self, number: int) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(
                self.name(number),
                tags={OWNER: owner(), BEAT: uuid.uuid4().hex},
                description=f"No model: whoever created this may change {self.model} (moso/adapters/mlflow_lock.py).",
            )
        except MlflowException as error:
            if error.error_code == "RESOURCE_ALREADY_EXISTS":
                return False
            raise
        return True

    def _remove(self, number: int) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.delete_registered_model(self.name(number))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # another one tidied it
                raise

    def _tidy(self) -> None:
        # Few at a time lie below: each holder removes what it finds. Failing to is no reason not to go on.
        for number, entity in self._generations().items():
            if number < self.number:
                with contextlib.suppress(Exception):
                    self.client.delete_registered_model(entity.name)
