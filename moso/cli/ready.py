"""Checks of an output before any work is done for it: it replaces no source, and it can be written."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from moso.cli.options import CLIP_NUMBER, Writing
from moso.errors import MosoError
from moso.video.pictures import IMAGES
from moso.video.writing import check_fps, partial


def ready(writing: Writing, sources: Sequence[str] = (), *, suffix: str = "") -> None:
    """Nothing when the output can be written and leaves the sources alone.

    Args:
        writing: the output; with `{}` in its name any number may come there; without a suffix it is a folder.
        sources: as a command was given them; those that are no paths (clips of a data set) are passed over.
        suffix: of the files in a folder.

    Raises:
        MosoError: the output would replace a source or an image of one, or its folder cannot be made or written to.
        ConfigError: frames per second that the format cannot have.
    """
    output = writing.output
    if writing.fps is not None:
        check_fps(suffix or output.suffix.lower(), writing.fps)
    paths = [Path(source) for source in sources if os.path.exists(source)]
    for there in _replaced(output):
        for path in paths:
            image = there.suffix.lower() in IMAGES and path.is_dir() and os.path.samefile(there.parent, path)
            if image or os.path.samefile(there, path):
                raise MosoError(f"--output {output}: would replace {there}, which is read here; give another name")
    if output.suffix:
        _try(output.parent, partial(output).name, output)
    else:
        _try(output, ".partial", output)


def ready_rate(writing: Writing, fps: float | None) -> None:
    """Nothing when the output can be as fast as its source, or --fps says another speed.

    Raises:
        ConfigError: it cannot.
    """
    if writing.fps is None and fps:
        check_fps(writing.output.suffix.lower(), fps)


def _replaced(output: Path) -> list[Path]:
    """The files there that `output` would replace."""
    if CLIP_NUMBER not in output.name:
        return [output] if os.path.isfile(output) else []
    pattern = re.compile(re.escape(output.name).replace(re.escape(CLIP_NUMBER), r"\d{4,}"))
    try:
        return [path for path in output.parent.iterdir() if pattern.fullmatch(path.name) and path.is_file()]
    except OSError:  # no such folder: nothing to replace
        return []


def _try(folder: Path, name: str, output: Path) -> None:
    """Make the folder and a file in it, and take away what was made; permissions alone do not tell (root, /proc)."""
    made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    probe = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.path.exists(probe):  # it may be that of another run, which is at work
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise MosoError(f"--output {output}: cannot be written ({error.strerror or error})") from None
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
