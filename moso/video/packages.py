"""PyAV and Pillow, imported when a file needs them; a missing one is a line that says what to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from moso.errors import MosoError

NAMES = {"av": "PyAV", "PIL.Image": "Pillow", "PIL.ImageOps": "Pillow"}


class MissingPackage(MosoError):
    """A file of this kind needs a package that is not installed."""


def need(module: str, purpose: str) -> ModuleType:
    """The module, imported.

    Args:
        module: a key of `NAMES`.
        purpose: what needs it, for the message: "reading push.mp4".

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingPackage(f"{purpose} needs {NAMES[module]}: pip install 'moso[video]'") from None
