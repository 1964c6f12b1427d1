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
        raise ConfigError("device", name, f"torch finds {found} GPUs here", "'auto' takes a GPU where there is one")
    return device


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
