"""sim_push: one .npz an episode, as `moso simulate` writes them (docs/architecture.md, "Raw sim_push episodes").

<root>/episodes/seed_<seed:06d>.npz with `frames` uint8 (T, H, W, 3), `actions` float32 (T, A), `states` float32 (T, S).
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moso.datasets.episode import Episode, Rejected, Source
from moso.errors import DataError

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec

# All that numpy and zipfile raise for damaged bytes: MemoryError is a header that claims an absurd size, RuntimeError
# an archive that claims to be encrypted or otherwise compressed.
UNREADABLE = (
    DataError,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def episode_id(seed: int) -> str:
    """123 -> 'seed_000123'."""
    return f"seed_{seed:06d}"


def source_of(seed: int) -> str:
    """123 -> 'episodes/seed_000123.npz'."""
    return f"episodes/{episode_id(seed)}.npz"


@dataclass(frozen=True)
class Options:
    """This format has none."""


def sources(root: Path, spec: DatasetSpec) -> list[Source]:
    """The raw files under `root`, ordered by seed."""
    return [
        Source(name) for name in sorted(p.relative_to(root).as_posix() for p in (root / "episodes").glob("seed_*.npz"))
    ]


def read(
    root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
) -> Iterator[Episode | Rejected]:
    """The one episode in `source`, or why it cannot be had."""
    path = root / source.name
    try:
        if path.stat().st_size == 0:
            raise DataError("the file is empty")
        if not zipfile.is_zipfile(path):
            raise DataError("the file is no .npz archive (truncated while it was written?)")
        with np.load(path, allow_pickle=False) as file:
            frames, actions, states = file["frames"], file["actions"], file["states"]
        episode = Episode.of(path.stem, source.name, frames, spec.fps, actions, states)
        episode.load()
        _check(episode, spec)
    except UNREADABLE as error:
        reason = str(error).strip("'\"") or type(error).__name__
        yield Rejected(source.name, 0, reason if isinstance(error, DataError) else f"{type(error).__name__}: {reason}")
        return
    yield episode


def _check(episode: Episode, spec: DatasetSpec) -> None:
    for name, values, signal in (
        ("actions", episode.actions, spec.actions),
        ("states", episode.states, spec.states),
    ):
        if signal is not None and values is not None and values.shape[1] != len(signal.names):
            raise DataError(f"{name} have {values.shape[1]} dimensions, the spec names {len(signal.names)}")
