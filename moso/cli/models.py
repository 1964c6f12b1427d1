"""The model that a command is given; an unknown one is answered with those there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moso.cli.options import Running
from moso.errors import MosoError

if TYPE_CHECKING:
    from moso.tasks.model import Model

MODELS = Path("models")
PARTS = ("vqvae", "transformer")


def load(reference: str, running: Running) -> Model:
    """The model at a path or an address such as models:/moso-sim_push@champion.

    Raises:
        MosoError: no such model; the message lists the folders below models/ and the registered ones.
    """
    from moso.tasks.loading import scheme
    from moso.tasks.model import Model

    if not scheme(reference) and not _is_model(Path(reference)):
        raise MosoError(f"{reference}: no model there (a folder with vqvae/ and transformer/); {_those_there_are()}")
    try:
        model = Model.load(reference, running.device)
    except MosoError as error:
        if scheme(reference) and reference not in _registered():
            raise MosoError(f"{error}; {_those_there_are()}") from None
        raise
    model.batch = running.batch
    return model


def _those_there_are() -> str:
    found = [*_folders(), *_registered()]
    return f"there are: {', '.join(found)}" if found else "there is none below models/ or in the registry"


def _folders() -> list[str]:
    return sorted(folder.as_posix() for folder in MODELS.glob("*") if _is_model(folder))


def _registered() -> list[str]:
    """Addresses in the registry; none where there is none, or where it does not answer: this is a hint."""
    from moso.adapters.mlflow_registry import addresses

    try:
        return addresses()
    except MosoError:
        return []


def _is_model(folder: Path) -> bool:
    return all((folder / part).is_dir() for part in PARTS)
