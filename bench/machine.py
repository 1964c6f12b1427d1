"""The machine that figures were measured on, for their JSON."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from moso.provenance import git_commit
from moso.training.precision import cpu_has_bf16
from moso.workers import available_cores

BUSY_LOAD = 0.3
"""Processes that others keep running, a core, above which figures are not to be trusted."""


def busy(load: float) -> bool:
    """Whether others use the machine."""
    return load > BUSY_LOAD * available_cores()


def describe(device: torch.device) -> dict[str, Any]:
    """Names and versions."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else processor(),
        "processor": processor(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "bf16": cuda or cpu_has_bf16(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": git_commit(),
    }


def say(text: str) -> None:
    """Tell whoever waits, beside the figures."""
    print(text, file=sys.stderr, flush=True)


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
