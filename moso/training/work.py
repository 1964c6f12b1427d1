"""Work folders: where a run keeps what it needs to go on, keyed by its identity and held by one process at a time.

They lie outside a step's outputs, which DVC deletes before a rerun. Another config, other inputs or other code give
another key, hence another folder: nothing is ever resumed into a run it does not belong to.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from moso.config import to_dict
from moso.errors import CheckpointError
from moso.provenance import code_digest, digest_file, digest_json


def run_identity(step: str, config: Any, inputs: Mapping[str, str], *, code: Path) -> dict[str, Any]:
    """What makes two runs of a step the same: its name, resolved config, the digests of its inputs, and the code's.

    Args:
        step: its name.
        config: resolved.
        inputs: name -> digest.
        code: the step's own source file, its `__file__`: it lies outside the package that `code_digest` covers.
    """
    return {
        "step": step,
        "config": to_dict(config),
        "inputs": dict(inputs),
        "code": code_digest(),
        "step_code": digest_file(code),
    }


def work_key(identity: Mapping[str, Any]) -> str:
    """Name of the work folder of a run: its step and the digest of its `run_identity`."""
    return f"{identity['step']}-{digest_json(identity)[:24]}"


class WorkFolder:
    """A run's own folder below `root`, to be held (`with work:`) while it is written to.

    Holding it again inside the same object is allowed: a step holds it from reading its inputs to writing its outputs,
    and the training loop in between.

    Args:
        root: Context.work.
        key: see `work_key`.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.folder = root / key
        self.checkpoints = self.folder / "checkpoints"
        self._lock = self.folder / "lock.json"
        self._held = 0
        self._token = uuid.uuid4().hex

    def __enter__(self) -> WorkFolder:
        """Take the folder; what a dead process held is taken over.

        Raises:
            CheckpointError: a process that lives holds it, or one on another machine, which cannot be asked.
        """
        if self._held == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._acquire()
        self._held += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held -= 1
        if self._held == 0:
            self._release()

    def discard(self) -> None:
        """Remove the folder, once the step's outputs are whole and nothing is left to go on with."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _acquire(self) -> None:
        # Two processes that both find a dead owner must not both take over: the kernel lets one at a time look.
        with (self.folder / "lock.guard").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            owner = self._owner()
            if owner is not None and _lives(owner):
                raise CheckpointError(
                    f"{self.folder} is held by process {owner['pid']} on {owner['host']}; wait for it or end it"
                    + (
                        ""
                        if owner["host"] == socket.gethostname()
                        else f" (if that machine is gone, delete {self._lock})"
                    )
                )
            temporary = self._lock.with_suffix(".tmp")
            temporary.write_text(json.dumps(self._mine()))
            os.replace(temporary, self._lock)

    def _release(self) -> None:
        # After discard() the folder is gone, or another process has made it anew and holds it: its lock stays.
        with contextlib.suppress(FileNotFoundError), (self.folder / "lock.guard").open("r+") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if self._owner() == self._mine():
                self._lock.unlink()

    def _mine(self) -> dict[str, Any]:
        # The token tells two holders within one process apart.
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "start": _start_of(os.getpid()),
            "token": self._token,
        }

    def _owner(self) -> dict[str, Any] | None:
        try:
            owner: dict[str, Any] = json.loads(self._lock.read_text())
        except FileNotFoundError:
            return None
        return owner


def _lives(owner: Mapping[str, Any]) -> bool:
    if owner["host"] != socket.gethostname():
        return True
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's: it lives
    # Numbers of processes are used again: the one that has it now must have started when the owner did.
    return _start_of(owner["pid"]) == owner["start"]


def _start_of(pid: int) -> str | None:
    """Boot and clock tick at which a process started; None where the system has no /proc, or the process has ended."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The second field, the name in brackets, may hold spaces and brackets; a zombie ('Z') has ended.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else f"{boot}:{fields[19]}"
