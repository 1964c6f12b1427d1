"""Fine-tuning: a training that starts from a parent's weights instead of drawn ones. Both stages use it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from moso.config import flat
from moso.errors import FormatError, MismatchError

INPUT = "parent"
"""Name of the optional input of a training step: the folder that the same step wrote for the parent."""


def start_from_(
    module: nn.Module, weights: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any], free: Collection[str] = ()
) -> None:
    """Give `module` the weights of its parent, in place.

    Args:
        module: as its config makes it, on any device.
        weights: the parent's model.safetensors.
        ours: nested settings that decide what the module's weights mean.
        theirs: the parent's.
        free: dotted names that may differ.

    Raises:
        MismatchError: settings that differ, each by its name with both values.
        FormatError: weights of other names or shapes, whatever the settings say.
    """
    new, old = flat(ours), flat(theirs)
    other = [name for name in sorted(new.keys() | old.keys()) if name not in free and new.get(name) != old.get(name)]
    if other:
        said = "; ".join(f"{name} = {_short(new.get(name))}, the parent's is {_short(old.get(name))}" for name in other)
        raise MismatchError(
            f"{weights.parent}: a training that starts from it must fit it: {said}; take the parent's, or train anew "
            f"without the input {INPUT!r}"
        )
    try:
        module.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise FormatError(f"{weights} does not fit the settings beside it: {error}") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:14]}…"
