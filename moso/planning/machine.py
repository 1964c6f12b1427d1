"""Memory: what the machine has for a training, and what this process has had."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")
MEMINFO, STATUS = Path("/proc/meminfo"), Path("/proc/self/status")


def host_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Bytes of main memory that are free for a training, or that a container's limit leaves; None where unknown."""
    found = []
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in fields:
            found.append(int(fields["MemAvailable"].split()[0]) * 1024)
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.exists() and used.exists() and limit.read_text().strip().isdigit():
        found.append(max(0, int(limit.read_text()) - int(used.read_text())))
    return min(found, default=None)


def peak_resident() -> int:
    """Most bytes of memory that this process has had."""
    if STATUS.exists():  # ru_maxrss would be its parent's where that had more
        fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def device_memory(device: torch.device) -> int | None:
    """Bytes that are free on the device, for a CPU those of the host; None where unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return host_memory()
