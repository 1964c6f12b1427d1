"""The device that a name means: 'cpu', 'cuda:1' …, or 'auto' for a GPU where there is one."""

from __future__ import annotations

import torch

from moso.errors import ConfigError


def device_of(name: str | torch.device) -> torch.device:
    """The device of Context.device and of the command line's --device.

    Raises:
        ConfigError: no device is called that, or it is a GPU that this machine does not have.
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError("device", name, "is no device", "'auto', 'cpu', 'cuda' or 'cuda:1' would be one") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ConfigError("device", name, f"torch finds {found} GPUs here", _remedy(found))
    return device


def _remedy(found: int) -> str:
    """What to do where torch finds only `found` GPUs."""
    if found:
        return f"'cuda:0' to 'cuda:{found - 1}' are there"
    if torch.version.cuda is None:
        return "this torch was built without CUDA: take an image of the variant cuda, or 'auto' for the CPU"
    return "give the machine NVIDIA's driver, or the container a GPU (docker run --gpus all); 'auto' takes the CPU"


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
