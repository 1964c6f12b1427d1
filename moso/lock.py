"""A folder that one process at a time writes into."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from moso.errors import CheckpointError


@contextlib.contextmanager
def hold(folder: Path, doing: str) -> Iterator[None]:
    """Hold `folder` for writing; the system lets go of it when this process ends, however it ends.

    Args:
        folder: must be there; a file .lock is made in it.
        doing: what another process that holds it is at, for the message: "simulating".

    Raises:
        CheckpointError: another process holds it.
    """
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"{folder}: another process is {doing} into this folder; wait for it or stop it"
            ) from None
        yield
