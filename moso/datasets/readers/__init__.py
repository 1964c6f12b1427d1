"""Readers: one module a format, each with the two functions of `Reader`.

A further format is a further module and its line in READERS. The modules are imported by name, so that the import graph
(from which a stage's code dependencies follow) knows them; heavy libraries are imported inside their functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from moso.datasets.episode import Episode, Rejected
from moso.datasets.readers import sim_push
from moso.errors import ConfigError

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec


@runtime_checkable
class Reader(Protocol):
    """What a reader module offers."""

    def sources(self, root: Path) -> list[str]:
        """The raw files under `root`, relative to it, in a fixed order; nothing is opened."""

    def read(self, root: Path, source: str, spec: DatasetSpec) -> Iterator[Episode | Rejected]:
        """The episodes of one raw file, in the file's order; a bad record is yielded as Rejected, never raised."""


READERS: dict[str, Reader] = {"sim_push": sim_push}
FORMATS = tuple(READERS)


def reader(format: str) -> Reader:
    """The reader module of a format.

    Raises:
        ConfigError: no such format.
    """
    if format not in READERS:
        raise ConfigError("format", format, "no such reader", f"known: {', '.join(FORMATS)}")
    return READERS[format]
