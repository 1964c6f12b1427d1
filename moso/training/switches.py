"""The switches of a training that act on a module: recomputation, plain attention, compilation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from moso.errors import ConfigError
from moso.training.config import TrainingConfig
from moso.training.segment import Segment, SwitchedAttention

RECOMPILATIONS = 64
"""Of one function, for its sizes and types; beyond them torch would go on uncompiled, which is refused here."""


def switch_(module: nn.Module, config: TrainingConfig, backend: str = "inductor") -> None:
    """Set the segments and attention layers of `module` as `config` says, and compile them where it says so.

    Compiled segment by segment, for a short compilation; a module without segments is compiled whole.

    Args:
        backend: of torch.compile. Tests take one that needs no minutes.

    Raises:
        ConfigError: to be compiled is a module of torch's own without segments, which torch.compile passes over.
    """
    segments = [part for part in module.modules() if isinstance(part, Segment)]
    for segment in segments:
        segment.recompute = config.recompute
    for part in module.modules():
        if isinstance(part, SwitchedAttention):
            part.fused = config.fused_attention
    if config.compile:
        parts: list[nn.Module] = [*segments] or [module]
        if type(parts[0]).__module__.startswith("torch."):
            raise ConfigError(
                "compile", True, f"{type(module).__name__} has no segments", "set training.compile to false"
            )
        for part in parts:
            part.compile(backend=backend)


@contextlib.contextmanager
def compiling(on: bool) -> Iterator[None]:
    """What is compiled inside is compiled or refused, never silently left as it was.

    Raises:
        ConfigError: torch.compile failed (no C++ compiler, an operation that it does not know …), or gave up after
            RECOMPILATIONS.
    """
    if not on:
        yield
        return
    import torch._dynamo  # takes a second: only where it is needed

    refused = (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit)
    settings: dict[str, Any] = {
        "recompile_limit": RECOMPILATIONS,
        "accumulated_recompile_limit": 16 * RECOMPILATIONS,
        "fail_on_recompile_limit_hit": True,
        "suppress_errors": False,
    }
    with torch._dynamo.config.patch(settings):
        try:
            yield
        except refused as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ConfigError(
                "compile", True, f"torch.compile failed here: {reason}", "set training.compile to false"
            ) from error
