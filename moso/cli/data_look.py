"""A look into recordings through their reader: what a spec and a preset must know of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from moso.datasets.episode import Episode, Rejected
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec
from moso.errors import DataError

MOST_EPISODES = 5000
"""A larger data set is judged by so many of its first episodes: their lengths, and how they fall into splits."""
MOST_READ = 12
"""Episodes whose frames are read, evenly spread over the sources, where only that tells their size and length."""


@dataclass
class Look:
    """What was seen.

    Attributes:
        episodes: without frames, actions and states; at most MOST_EPISODES.
        lengths: frames of the episodes of which they are known.
        sizes: (height, width) of raw frames -> episodes read with it.
        fps: frames a second -> episodes.
        actions: their dimension; 0: none.
        states: likewise.
        rejected: bad records met.
        sources: how many there are.
        complete: every source was looked at.
    """

    episodes: list[Episode] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    fps: Counter[float] = field(default_factory=Counter)
    actions: int = 0
    states: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    sources: int = 0
    complete: bool = True

    def length_of_most(self) -> int:
        """The length that nine of ten episodes have."""
        return sorted(self.lengths)[len(self.lengths) // 10]


def look_into(root: Path, spec: DatasetSpec) -> Look:
    """Look at the data below `root`.

    Args:
        root: the raw data's root.
        spec: what is known so far; its options choose cameras and the like.

    Raises:
        DataError: no such data set, or nothing in it that can be read.
    """
    module = reader(spec.format)
    sources = module.sources(root, spec)
    look = Look(sources=len(sources))
    step = max(1, len(sources) // MOST_READ)
    read = 0
    for number, source in enumerate(sources):
        if len(look.episodes) >= MOST_EPISODES:
            look.complete = False
            break
        first = True
        for record in module.read(root, source, spec):
            if isinstance(record, Rejected):
                look.rejected.append(record)
                continue
            wanted = read < MOST_READ and (number % step == 0 or not look.sizes) and (first or len(sources) < MOST_READ)
            length = _length(record, look, wanted)
            read, first = read + wanted, False
            if length is None and wanted:
                continue  # it turned out to be bad
            _note(record, look, length)
            if len(look.episodes) >= MOST_EPISODES:
                look.complete = False
                break
    if not look.lengths:
        reasons = "; ".join(f"{r.file}: {r.reason}" for r in look.rejected[:3])
        raise DataError(f"{root}: nothing that the reader {spec.format!r} can read{f' ({reasons})' if reasons else ''}")
    return look


def _length(episode: Episode, look: Look, read: bool) -> int | None:
    """Frames of an episode: counted where it is read, else as its numbers say; None where that is not known."""
    if read:
        count, size = 0, (0, 0)
        try:
            for chunk in episode.chunks():
                count, size = count + len(chunk), (int(chunk.shape[1]), int(chunk.shape[2]))
        except DataError as error:
            look.rejected.append(Rejected(episode.source, episode.offset, f"{episode.episode_id}: {error}"))
            return None
        look.sizes[size] += 1
        return count
    if episode.frames is not None:
        return episode.frames
    beside: Sequence[object] | None = episode.actions if episode.actions is not None else episode.states  # type: ignore[assignment]
    return None if beside is None else len(beside)


def _note(episode: Episode, look: Look, length: int | None) -> None:
    if length is not None:
        look.lengths.append(length)
    look.fps[episode.fps] += 1
    look.actions = look.actions or (0 if episode.actions is None else episode.actions.shape[1])
    look.states = look.states or (0 if episode.states is None else episode.states.shape[1])
    look.episodes.append(replace(episode, actions=None, states=None))
