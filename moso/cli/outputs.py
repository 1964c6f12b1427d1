"""What a command writes: an array to work with, or pictures to look at.

Legend: N clips, G panels of a clip (samples, parts, sources beside a result), T frames, H W pixels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import click
import numpy as np
from jaxtyping import UInt8

from moso.cli.options import CLIP_NUMBER, Writing
from moso.cli.words import counted
from moso.progress import Progress
from moso.video import write, write_array

FPS = 5.0
"""Where neither --fps nor the source says it."""


@contextlib.contextmanager
def shown(title: str, total: int, unit: str = "clip") -> Iterator[Callable[[int], None]]:
    """A bar over `total`; what it yields is a task's on_progress. What can be refused is checked before it begins."""
    with Progress(title, total, counted(total, unit).split()[1]) as progress:
        yield lambda amount: progress.advance(amount)


def deliver(
    writing: Writing,
    array: UInt8[np.ndarray, "N ..."],
    panels: UInt8[np.ndarray, "N G T H W 3"],
    fps: float | None,
    *,
    given: Collection[int] = (),
    panels_in_rows: bool = False,
) -> None:
    """Write a result and say what was written.

    Args:
        writing: the output; with `{}` in its name every clip is a file of its own, numbered from 0.
        array: what a .npy holds.
        panels: what pictures show: a row a clip, a column a panel; a grid about square where each clip is one panel.
        fps: of the source.
        given: numbers of the frames of `panels` that were given; their margins are marked.
        panels_in_rows: a moving picture has a row a panel and a column a clip; a strip has a clip's panels together.
    """
    rate = writing.fps or fps or FPS
    for path, rows in files(writing.output, len(array)):
        if path.suffix.lower() == ".npy":
            write_array(path, array[rows] if CLIP_NUMBER not in writing.output.name else array[rows][0])
            written = f"uint8 {np.load(path, mmap_mode='r', allow_pickle=False).shape}"
        else:
            turned = panels_in_rows and path.suffix.lower() != ".png"
            shown_panels = panels[rows].swapaxes(0, 1) if turned else panels[rows]
            high, wide = shown_panels.shape[:2]
            columns = wide if panels.shape[1] > 1 else None
            clips = shown_panels.reshape(high * wide, *panels.shape[2:])
            notes = write(path, clips, rate, columns=columns, given=given)
            count = rows.stop - rows.start
            written = ", ".join([f"{counted(panels.shape[2], 'frame')} of {counted(count, 'clip')}", *notes])
        click.echo(f"{path}: {written}")


def files(output: Path, clips: int) -> Iterator[tuple[Path, slice]]:
    """The files of an output and the clips of each: one a clip where its name holds `{}`."""
    if CLIP_NUMBER not in output.name:
        yield output, slice(0, clips)
        return
    for number in range(clips):
        yield output.with_name(output.name.replace(CLIP_NUMBER, f"{number:04d}")), slice(number, number + 1)
