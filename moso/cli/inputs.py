"""What a command is given to work on: video files, folders of images, arrays, clips of a data set.

Legend: N clips, T frames, H W pixels.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from jaxtyping import UInt8

from moso.cli.options import Reading
from moso.cli.words import counted
from moso.errors import DataError, MosoError
from moso.frames.cache import FrameCache
from moso.frames.resize import resize_frames
from moso.frames.writer import INDEX
from moso.video import Recording, read

CACHES = "data/*/frames"


@dataclass(frozen=True)
class Source:
    """One argument, found: a path, or an episode of a cache from frame `first` on."""

    text: str
    cache: FrameCache | None = None
    episode_id: str = ""
    first: int = 0

    def read(self, start: int, count: int) -> Recording:
        """Frames [start, start + count), fewer where there are fewer."""
        if self.cache is None:
            return read(Path(self.text), start, count)
        first = self.first + start
        last = min(first + count, self.cache.place(self.episode_id).frames)
        none = np.empty((0, self.cache.height, self.cache.width, 3), dtype=np.uint8)
        frames = self.cache.frames(self.episode_id, first, last - first) if first < last else none
        return Recording(frames[None], self.cache.fps)


class Taken(NamedTuple):
    """Clips of one length and the model's size, and the frames per second of the first source that says it."""

    clips: UInt8[np.ndarray, "N T H W 3"]
    fps: float | None


def locate(sources: Sequence[str], reading: Reading) -> list[Source]:
    """Each source as a path that exists or a clip that a frame cache holds; nothing is read yet.

    Raises:
        DataError: neither; the nearest episodes are named. Or several caches hold the episode.
    """
    return [_source(text, reading.cache) for text in sources]


def take(sources: Sequence[Source], reading: Reading, count: int, height: int | None, width: int | None) -> Taken:
    """`count` frames of every source, from reading.start on; what is longer is cut, and that is said.

    Args:
        sources: from `locate`.
        reading: where to begin, and whether to resize.
        count: frames of a clip.
        height, width: that the clips must have, or get with reading.resize; None: those of the first source.

    Raises:
        MosoError: a source with too few frames, or of another size without --resize; what is expected is said.
    """
    clips, rates, whose = [], [], "this model's"
    for source in sources:
        frames, fps = source.read(reading.start, count + 1)
        if frames.shape[1] < count:
            needed = f"{count} {'is' if count == 1 else 'are'} needed"
            from_start = f" from frame {reading.start} on" if reading.start else ""
            raise MosoError(f"{source.text}: has {counted(frames.shape[1], 'frame')}{from_start}, {needed}")
        if frames.shape[1] > count:
            click.echo(f"{source.text}: taking {_span(source.first + reading.start, count)}", err=True)
        if height is None or width is None:
            height, width = frames.shape[2:4]
            whose = f"those of {source.text}"
        clips.append(fit(source.text, frames[:, :count], height, width, resize=reading.resize, whose=whose))
        rates.append(fps)
    return Taken(np.concatenate(clips), next((fps for fps in rates if fps), None))


def fit(
    name: str,
    clips: UInt8[np.ndarray, "N T H W 3"],
    height: int,
    width: int,
    *,
    resize: bool,
    whose: str = "this model's",
) -> UInt8[np.ndarray, "N T h w 3"]:
    """The clips at `height` x `width`, which `whose` frames have: as they are, or with `resize` cropped around the
    centre and scaled.

    Raises:
        MosoError: another size, and `resize` is off.
    """
    found = clips.shape[2:4]
    if found == (height, width):
        return clips
    if not resize:
        raise MosoError(
            f"{name}: frames of {found[0]} x {found[1]} pixels (height x width), {whose} are {height} x {width}; "
            "--resize crops the centre and scales it"
        )
    # The largest window of the model's shape, whole pixels of it.
    scale = min(found[0] / height, found[1] / width)
    crop = [max(1, min(side, round(scale * target))) for side, target in zip(found, (height, width), strict=True)]
    top, left = (found[0] - crop[0]) // 2, (found[1] - crop[1]) // 2
    window = clips[:, :, top : top + crop[0], left : left + crop[1]]
    return np.stack([resize_frames(clip, height, width) for clip in window])


def _source(text: str, folder: Path | None) -> Source:
    if Path(text).exists():
        return Source(text)
    if os.sep in text or (Path(text).suffix and "@" not in text):
        raise DataError(f"{text}: no such file or folder")
    episode_id, first = _parse(text)
    caches = [folder] if folder else sorted(p for p in Path().glob(CACHES) if (p / INDEX).is_file())
    if not caches:
        raise DataError(
            f"{text}: no such file, and no frame cache at {CACHES} that could hold a clip of this name; "
            "--cache names one"
        )
    opened = [FrameCache.open(cache) for cache in caches]
    holding = [cache for cache in opened if episode_id in set(cache.episodes["episode_id"])]
    if not holding:
        known = [str(e) for cache in opened for e in cache.episodes["episode_id"]]
        near = difflib.get_close_matches(episode_id, known, n=3)
        hint = f"near: {', '.join(near)}" if near else f"one of theirs is {known[0]}" if known else "they are empty"
        where = ", ".join(map(str, caches))
        raise DataError(f"{text}: no such file or folder, and no episode {episode_id} in {where}; {hint}")
    if len(holding) > 1:
        several = " and ".join(str(cache.folder) for cache in holding)
        raise DataError(f"{text}: {several} hold an episode of this name; choose one with --cache")
    frames = holding[0].place(episode_id).frames
    if first >= frames:
        raise DataError(f"{text}: {episode_id} has {counted(frames, 'frame')}, 0 to {frames - 1}")
    return Source(text, holding[0], episode_id, first)


def _parse(text: str) -> tuple[str, int]:
    """'seed_000123@00004' -> ('seed_000123', 4); an episode's id alone begins at its first frame."""
    episode_id, at, first = text.rpartition("@")
    if not at:
        return text, 0
    if not episode_id or not (first.isascii() and first.isdigit()):
        raise DataError(f"{text}: no such file, and no clip id either; one looks like seed_000123@00004")
    return episode_id, int(first)


def _span(start: int, count: int) -> str:
    return f"frame {start}" if count == 1 else f"frames {start} to {start + count - 1}"
