"""How large a model is."""

from __future__ import annotations

from torch import nn


def count_parameters(module: nn.Module) -> int:
    """Trained numbers of a module: its parameters, each once however often it is used. Buffers, such as the codebook,
    are left out.

    A module built under `torch.device("meta")` is counted without its memory.
    """
    return sum(parameter.numel() for parameter in module.parameters())
