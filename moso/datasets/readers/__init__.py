"""Readers: one module a format, each with what `Reader` names.

A further format is a further module and its line in READERS. The modules are imported by name, so that the import graph
(from which a stage's code dependencies follow) knows them; heavy libraries are imported inside their functions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.readers import bair, images, kitti, kth, lerobot, robonet, sim_push, ucf101, videos
from moso.errors import ConfigError

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec


@runtime_checkable
class Reader(Protocol):
    """What a reader module offers.

    It may offer `decisive(root, spec) -> dict` too: plain data on what small files of the data set (lists, splits.csv)
    say on ids and splits. These files are then among no Source's files, for a further line of theirs would have all
    recordings read again; where the answer changes, `read` is asked again and no stream is opened: making an Episode
    decodes nothing.

    And `lists_used(spec) -> tuple[ListSpec, ...]`: those of the spec's published lists that say which episodes there
    are; the splits' label names them, and so does the protocol of every figure.
    """

    Options: Any
    """A frozen dataclass: what a spec's `options` may say."""

    def sources(self, root: Path, spec: DatasetSpec) -> list[Source]:
        """What there is to read under `root`, in a fixed order; small metadata alone is opened.

        Raises:
            DataError: the folder does not hold such a data set.
        """

    def read(
        self, root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
    ) -> Iterator[Episode | Rejected]:
        """The episodes of one source, in its order; a bad record is yielded as Rejected, never raised.

        An episode's stream is read before the next episode is asked for. `wanted`: only these ids are needed; others
        may be left out, cheaply.
        """


READERS: dict[str, Reader] = {
    "bair": bair,
    "images": images,
    "kitti": kitti,
    "kth": kth,
    "lerobot": lerobot,
    "robonet": robonet,
    "sim_push": sim_push,
    "ucf101": ucf101,
    "videos": videos,
}
FORMATS = tuple(READERS)


def reader(format: str) -> Reader:
    """The reader module of a format.

    Raises:
        ConfigError: no such format.
    """
    if format not in READERS:
        raise ConfigError("format", format, "no such reader", f"known: {', '.join(FORMATS)}")
    return READERS[format]
