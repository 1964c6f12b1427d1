"""Readers: one module a format, each with the two functions of `Reader`.

A further format is a further module and its name in FORMATS.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from moso.datasets.episode import Episode, Rejected
from moso.errors import ConfigError

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec

FORMATS = ("sim_push",)


@runtime_checkable
class Reader(Protocol):
    """What a reader module offers."""

    def sources(self, root: Path) -> list[str]:
        """The raw files under `root`, relative to it, in a fixed order; nothing is opened."""

    def read(self, root: Path, source: str, spec: DatasetSpec) -> Iterator[Episode | Rejected]:
        """The episodes of one raw file, in the file's order; a bad record is yielded as Rejected, never raised."""


def reader(format: str) -> Reader:
    """The reader module of a format.

    Raises:
        ConfigError: no such format.
    """
    if format not in FORMATS:
        raise ConfigError("format", format, "no such reader", f"known: {', '.join(FORMATS)}")
    return cast(Reader, importlib.import_module(f"moso.datasets.readers.{format}"))
