"""What workers are given to do in place of a step; `python -m tests.adapters.ray_bodies NAME FOLDER` has two do it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from moso.adapters.ray import Plan, fit
from moso.errors import ConfigError, MosoError
from moso.step import Context, StopSignal


def one_refuses(arguments: Mapping[str, Any], context: Context) -> None:
    """Rank 0 meets what a user must mend; the other one waits for it."""
    if context.world.rank == 0:
        raise ConfigError("model.height", 32, "is met by rank 0 alone")
    context.world.barrier()


def one_breaks(arguments: Mapping[str, Any], context: Context) -> None:
    """Rank 0 meets a fault of the code; the other one waits for it."""
    if context.world.rank == 0:
        raise KeyError("met by rank 0 alone")
    context.world.barrier()


def main(name: str, folder: str) -> None:
    """Two workers do it; its error is the last line, and the exit status 1."""
    plan = Plan("body", name, 2, 0, 1, "local", folder, max_failures=0, keep=1)
    try:
        fit(f"tests.adapters.ray_bodies:{name}", {}, plan, StopSignal())
    except MosoError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
