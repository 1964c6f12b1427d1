"""A folder that one process at a time writes into."""

from __future__ import annotations

import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from moso.errors import CheckpointError, StopRequested
from moso.step import StopSignal

POLL_S = 0.2


@contextlib.contextmanager
def hold(folder: Path, doing: str, *, wait: bool = False, stop: StopSignal | None = None) -> Iterator[None]:
    """Hold `folder` for writing; the system lets go of it when this process ends, however it ends.

    Args:
        folder: must be there; a file .lock is made in it.
        doing: what another process that holds it is at, for the message: "simulating".
        wait: for another process that holds it, until it lets go.
        stop: ends the waiting.

    Raises:
        CheckpointError: another process holds it, unless `wait`.
        StopRequested: by `stop`.
    """
    with (folder / ".lock").open("w") as file:
        told = False
        while not _take(file):
            held = f"{folder}: another process is {doing} into this folder"
            if not wait:
                raise CheckpointError(f"{held}; wait for it or stop it")
            if stop:
                raise StopRequested(f"while waiting for another process that is {doing} into {folder}")
            if not told:
                print(f"{held}; waiting for it", file=sys.stderr)
            told = True
            time.sleep(POLL_S)
        yield


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
