"""The machine and the versions that figures were computed with. No name of a user or host and no path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

from moso import __version__

PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "safetensors", "einops", "scipy", "lpips", "torchvision", "pillow")


def environment(device: str) -> dict[str, str]:
    """Name -> value, for the page.

    Args:
        device: where the model ran, for example "cpu" or "cuda:0".
    """
    return {
        "Device": _device(device),
        "GPU": ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none",
        "CPU": f"{_processor()} ({platform.machine()}), {_cores()} cores, {torch.get_num_threads()} threads used",
        "Memory": _memory(),
        "Operating system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "MOSO": __version__,
        "Packages": ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name))),
    }


def _device(name: str) -> str:
    device = torch.device(name)
    return f"{name} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else name


def _processor() -> str:
    """The processor's model, as Linux tells it; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(models), "") or platform.processor() or "unknown model"


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{size / 2**30:.1f} GiB"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
