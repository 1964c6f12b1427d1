"""`write`: clips as a file to look at or to work with, by its suffix. A file appears whole or not at all.

Legend: N clips, T frames, H W pixels.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from moso.errors import ConfigError, DataError
from moso.video.containers import write_mp4
from moso.video.layout import film, strip
from moso.video.pictures import write_gif, write_png

SUFFIXES = (".mp4", ".gif", ".png", ".npy")
# Below, a GIF's 16 bits of hundredths of a second, and MP4's fraction, overflow. Above, an MP4 cannot be read again;
# a GIF is slowed to what it can be, and says so.
FPS_RANGE = {".mp4": (0.001, 1000.0), ".gif": (0.0016, math.inf)}


def write(
    path: Path,
    clips: UInt8[np.ndarray, "N T H W 3"],
    fps: float,
    *,
    columns: int | None = None,
    given: Collection[int] = (),
) -> tuple[str, ...]:
    """Write clips into one file.

    Several clips share a picture: .mp4 and .gif hold a grid, .png a strip with a row a clip. A file a clip is a loop of
    the caller's; one clip alone, with nothing marked, is written pixel for pixel, without a margin.

    Args:
        path: ends in one of `SUFFIXES`; .npy holds the array as it is. Its folder is made.
        clips: uint8 [0, 255].
        fps: frames per second of .mp4 and .gif; see `check_fps`.
        columns: of the grid; about square where None.
        given: numbers of frames, from 0, to mark by their margin.

    Returns:
        Phrases about what the caller did not ask for, such as padding to an even size; mostly none.

    Raises:
        ConfigError: another suffix, or an fps that the format cannot have.
        DataError: the file system refuses the file.
        MissingPackage: PyAV (.mp4) or Pillow (.gif, .png) is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError("output", str(path), "is no format that can be written", f"end it in {', '.join(SUFFIXES)}")
    check_fps(suffix, fps)
    if suffix == ".npy":
        write_array(path, clips)
        return ()
    with whole(path) as temporary:
        if suffix == ".png":
            write_png(temporary, strip(clips, given=given))
            return ()
        return (write_mp4 if suffix == ".mp4" else write_gif)(temporary, film(clips, columns=columns, given=given), fps)


def write_array(path: Path, array: np.ndarray) -> None:
    """A .npy of any array, never pickled."""
    with whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def check_fps(suffix: str, fps: float) -> None:
    """Nothing when a file of this suffix (lower case) can have `fps` frames per second.

    Raises:
        ConfigError: not finite, not above 0, or outside the format's range.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ConfigError("fps", fps, "must be a finite number above 0")
    least, most = FPS_RANGE.get(suffix, (0.0, math.inf))
    if not least <= fps <= most:
        span = f"from {least:g} to {most:g}" if math.isfinite(most) else f"from {least:g} on"
        raise ConfigError("fps", fps, f"is outside what {suffix} can have", f"give a number {span}")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, with its suffix; renamed to `path` on success, removed on failure.

    Raises:
        DataError: the file system refuses it (an OSError by itself, or while the caller writes).
    """
    temporary = partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def partial(path: Path) -> Path:
    """The name that `path` has while it is written."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")
