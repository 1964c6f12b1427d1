"""Importing torchvision, and what needs it (lpips, torchmetrics), also beside a CPU-only torch.

PyPI's torchvision is built against CUDA; on a CPU-only torch its import fails because the operators nms and qnms are
not there ("operator torchvision::nms does not exist"). Nothing here calls them, so declaring them is enough. Where the
plain import works nothing is touched. To be removed once torchvision's CPU wheels are what an index serves by default.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

from moso.errors import MosoError

_declared: list[torch.library.Library] = []
"""Kept alive: the declarations go with it."""


def import_with_torchvision(name: str = "torchvision") -> ModuleType:
    """The module `name` ("torchvision", "lpips", "torchmetrics" …), imported once torchvision can be.

    Raises:
        MosoError: it is not installed.
    """
    try:
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _declared.append(library)
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MosoError(f"{error.name} is not installed; it comes with `pip install moso[eval]`") from None
