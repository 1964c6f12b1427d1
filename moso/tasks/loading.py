"""From a reference to the folder of a model, and what lies in it."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

from moso.config import build
from moso.errors import FormatError, MosoError
from moso.transformer.config import SamplingConfig

RESOLVERS = "moso.model_resolvers"


def model_folder(reference: str | Path) -> Path:
    """The folder with vqvae/ and transformer/ that a path or an address such as "models:/name@alias" names.

    An address is resolved by what an installed package registers for its scheme in the entry-point group
    moso.model_resolvers: it is called with the address and returns such a folder.

    Raises:
        MosoError: no such folder, or nothing here knows the scheme.
    """
    folder = _resolve(str(reference)) if scheme(reference) else Path(reference)
    for part in ("vqvae", "transformer"):
        if not (folder / part).is_dir():
            raise MosoError(f"{folder}: no folder {part}/ in it; a model is a folder with vqvae/ and transformer/")
    return folder


def stored_sampling(transformer_folder: Path) -> SamplingConfig:
    """The model's own sampling settings (sampling.json, written by train_transformer).

    Raises:
        FormatError: there are none.
    """
    path = transformer_folder / "sampling.json"
    if not path.exists():
        raise FormatError(f"{path} is missing; rerun train_transformer, which writes it")
    return build(SamplingConfig, json.loads(path.read_text()), at="sampling.json")


def scheme(reference: str | Path) -> str:
    """ "models" of "models:/name@alias"; empty for a path."""
    head, separator, _ = str(reference).partition(":/")
    return head if separator and isinstance(reference, str) and head.isidentifier() else ""


def _resolve(address: str) -> Path:
    known = {point.name: point for point in entry_points(group=RESOLVERS)}
    if scheme(address) not in known:
        listed = ", ".join(sorted(known)) or "none is installed"
        raise MosoError(
            f"{address}: nothing here knows the scheme {scheme(address)!r} (known: {listed}); give a folder instead"
        )
    return Path(known[scheme(address)].load()(address))
