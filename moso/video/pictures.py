"""Videos as pictures, through Pillow: folders of numbered images, moving GIFs, and strips of frames in a .png.

Legend: T frames, H W pixels.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from moso.errors import DataError
from moso.video.packages import need

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
# What Pillow raises for damaged bytes: IndexError and struct.error where a header ends early.
UNREADABLE = (OSError, EOFError, IndexError, KeyError, MemoryError, SyntaxError, TypeError, ValueError, struct.error)
TICK_S = 0.01  # a GIF's unit of time
FASTEST_FPS = 50.0  # players slow a shorter delay than 2 ticks down


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that orders names with numbers in them as people do: frame2 before frame10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def image_files(folder: Path) -> list[Path]:
    """The images of a folder (`IMAGES`, hidden files left out) in natural order of their names."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in IMAGES and not p.name.startswith(".") and p.is_file())
    return sorted(found, key=lambda path: (natural(path.name), path.name))


def read_folder(folder: Path, first: int, count: int | None) -> UInt8[np.ndarray, "T H W 3"]:
    """Images [first, first + count) of a folder, a frame each; transparency is ignored, EXIF rotation applied.

    Raises:
        DataError: no images, an unreadable one, or one of another size than the first; it is named.
        MissingPackage: Pillow is not installed.
    """
    files = image_files(folder)
    if not files:
        raise DataError(f"{folder}: no images in this folder ({', '.join(IMAGES)})")
    files = files[first:] if count is None else files[first : first + count]
    frames = [read_image(path) for path in files]
    for path, frame in zip(files, frames, strict=True):
        if frame.shape != frames[0].shape:
            size, expected = (f"{f.shape[0]} x {f.shape[1]}" for f in (frame, frames[0]))
            raise DataError(f"{path}: {size} pixels, {files[0].name} has {expected}; a video has one size")
    return np.stack(frames) if frames else np.empty((0, 0, 0, 3), dtype=np.uint8)


def read_gif(path: Path, first: int, count: int | None) -> tuple[UInt8[np.ndarray, "T H W 3"], float | None]:
    """Frames [first, first + count) of a GIF and its frames per second.

    A frame that is shown n times as long as the shortest one counts n times: GIF writers, Pillow among them, store a
    frame that repeats as one that stays.

    Raises:
        DataError: no GIF, or a damaged one.
        MissingPackage: Pillow is not installed.
    """
    image = need("PIL.Image", f"reading {path}")
    try:
        with image.open(path, formats=("GIF",)) as gif:
            durations = []
            for i in range(gif.n_frames):
                gif.seek(i)
                durations.append(max(float(gif.info.get("duration", 0)) / 1000, TICK_S))
            shortest = min(durations)
            repeats = [max(1, round(duration / shortest)) for duration in durations]
            end = None if count is None else first + count
            frames = list(islice(_gif_frames(gif, repeats), first, end))
            size = gif.height, gif.width
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as a GIF ({_reason(error)})") from None
    fps = sum(repeats) / sum(durations) if len(durations) > 1 else None
    return (np.stack(frames) if frames else np.empty((0, *size, 3), dtype=np.uint8)), fps


def write_gif(path: Path, frames: UInt8[np.ndarray, "T H W 3"], fps: float) -> tuple[str, ...]:
    """A GIF that repeats for ever, a palette of 256 colours a frame.

    Returns:
        A phrase where it cannot be as fast as was asked for.
    """
    image = need("PIL.Image", f"writing {path}")
    rate = min(fps, FASTEST_FPS)
    # Whole ticks whose sums are right, so that 30 fps are not 33.
    ends = [round((i + 1) / rate / TICK_S) for i in range(len(frames))]
    durations = [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]
    pictures = [image.fromarray(frame) for frame in frames]
    pictures[0].save(path, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return (f"slowed to {FASTEST_FPS:g} frames a second, the fastest a GIF can be",) if fps > rate else ()


def write_png(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """One picture."""
    need("PIL.Image", f"writing {path}").fromarray(picture).save(path, format="PNG", optimize=True)


def read_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """One image; transparency is ignored, EXIF rotation applied, grey repeated to three channels.

    Raises:
        DataError: unreadable, damaged, absurdly large, or of more than 8 bits a channel.
        MissingPackage: Pillow is not installed.
    """
    try:
        return decode(path, upright=True)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def decode(
    encoded: Path | bytes,
    *,
    size: tuple[int, int] | None = None,
    formats: tuple[str, ...] | None = None,
    modes: tuple[str, ...] = EIGHT_BIT,
    upright: bool = False,
) -> UInt8[np.ndarray, "H W 3"]:
    """One image as RGB; transparency is ignored, grey repeated to three channels.

    Args:
        encoded: a file, or its bytes.
        size: height and width that it must have; looked at before it is decoded, for a header may claim any.
        formats: Pillow's names of those that it may have; None: all.
        modes: Pillow's names of the kinds of pixels that it may have.
        upright: turn it as its EXIF data say.

    Raises:
        DataError: it is none of these, is damaged, or absurdly large. The message does not name it.
        MissingPackage: Pillow is not installed.
    """
    purpose = "reading images" if isinstance(encoded, bytes) else f"reading {encoded}"
    image = need("PIL.Image", purpose)
    try:
        with image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=formats) as opened:
            if size is not None and (opened.height, opened.width) != size:
                raise DataError(f"{opened.height} x {opened.width} pixels, expected {size[0]} x {size[1]}")
            if opened.mode not in modes:
                expected = "8 bits a channel" if modes == EIGHT_BIT else " or ".join(modes)
                raise DataError(f"pixels of mode {opened.mode}, expected {expected}")
            turned = need("PIL.ImageOps", purpose).exif_transpose(opened) if upright else opened
            return np.asarray(turned.convert("RGB"))
    except (*UNREADABLE, image.DecompressionBombError) as error:
        kind = " or ".join(formats) if formats else "an image"
        raise DataError(f"cannot be read as {kind} ({_reason(error)})") from None


def _gif_frames(gif: Any, repeats: list[int]) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    for i, times in enumerate(repeats):
        gif.seek(i)
        frame = np.asarray(gif.convert("RGB"))
        yield from (frame for _ in range(times))


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return "not this format" if "cannot identify" in text else text or type(error).__name__
