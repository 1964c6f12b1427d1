"""The most memory that this process took since a moment: resident on a CPU, allocated on a GPU."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

from moso.planning.machine import STATUS, peak_resident

REFS = Path("/proc/self/clear_refs")


class Peak:
    """Peak memory, in bytes, from `restart` on.

    Attributes:
        whole: whether the system cannot restart its count, so that the peak is that of the whole process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.whole = False

    def restart(self) -> None:
        """Begin anew, after giving back what nothing uses."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        trim()
        try:
            REFS.write_text("5")  # Linux: sets VmHWM to what is resident now
        except OSError:
            self.whole = True

    def now(self) -> int:
        """Bytes at present."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        return _resident()

    def bytes(self) -> int:
        """Most bytes since `restart`."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return peak_resident()


def trim() -> None:
    """Give freed memory back to the system, where the C library can."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)


def _resident() -> int:
    if not STATUS.exists():  # no Linux: the peak alone, of the whole process
        return peak_resident()
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
