"""Checkpoints written while the training goes on: a snapshot of its tensors, and a thread that writes it.

The next step changes weights and moments in place, so what is written must not be they: they are copied into main
memory that is kept for it, which takes as much as the checkpoint, once. At most one write is under way.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from moso.errors import CheckpointError
from moso.training.checkpoint import Checkpoint, clear_partial, save


class CheckpointWriter:
    """Writes the checkpoints of one training below `folder`.

    As a context manager it waits for the write under way, so that the work folder is let go of afterwards only.

    Args:
        folder: of the checkpoints.
        keep: how many of the newest stay, see `moso.training.checkpoint.save`.
        background: beside the training; false: `write` returns when all is written, and nothing is copied.
    """

    def __init__(self, folder: Path, keep: int, background: bool) -> None:
        self.folder, self.keep, self.background = folder, keep, background
        self.saved: Path | None = None
        self._thread: threading.Thread | None = None
        self._error: CheckpointError | None = None
        self._buffers: dict[tuple[str, str], Tensor] = {}

    def write(self, checkpoint: Checkpoint) -> None:
        """Begin to write `checkpoint`, or in the foreground write it; `wait` says how it went.

        Raises:
            CheckpointError: the write before this one failed.
        """
        self.wait()
        if not self.background:
            self._write(checkpoint)
            return
        snapshot = Checkpoint(checkpoint.step, self._copies(checkpoint.tensors), checkpoint.state)
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the write under way; afterwards `saved` is its folder.

        Raises:
            CheckpointError: it failed. Told once; older checkpoints are as they were.
        """
        if self._thread:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error:
            raise error

    def __enter__(self) -> CheckpointWriter:
        clear_partial(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except CheckpointError as failed:
            if error is None:
                raise
            print(f"warning: {failed}", file=sys.stderr, flush=True)  # what ended the training comes first

    def _write(self, checkpoint: Checkpoint) -> None:
        try:
            self.saved = save(self.folder, checkpoint, self.keep)
        except CheckpointError as error:
            self._error = error
        except Exception as error:  # a thread's own exception would be lost
            self._error = CheckpointError(
                f"{self.folder}: the checkpoint of step {checkpoint.step} could not be written "
                f"({type(error).__name__}: {error})"
            )

    def _copies(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """The tensors' values in buffers of this writer's own, which the last write has left."""
        return {
            group: {name: self._copy((group, name), tensor) for name, tensor in named.items()}
            for group, named in tensors.items()
        }

    def _copy(self, key: tuple[str, str], tensor: Tensor) -> Tensor:
        buffer = self._buffers.get(key)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = self._buffers[key] = torch.empty(tensor.shape, dtype=tensor.dtype)
        return buffer.copy_(tensor.detach())
