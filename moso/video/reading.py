"""`read`: a video file, a folder of images, a GIF or a .npy as clips of frames.

Legend: N clips (1 but for a .npy of several), T frames, H W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from moso.errors import DataError
from moso.video.containers import read_container
from moso.video.pictures import IMAGES, read_folder, read_gif


class Recording(NamedTuple):
    """Frames, uint8 [0, 255], and frames per second where the file knows them."""

    frames: UInt8[np.ndarray, "N T H W 3"]
    fps: float | None


def read(path: Path, first: int = 0, count: int | None = None) -> Recording:
    """Frames [first, first + count) of what lies at `path`; fewer where it is shorter, all where `count` is None.

    Args:
        path: a folder of numbered images (frame2 before frame10), a .npy (uint8 (T, H, W, 3) or (N, T, H, W, 3)), a
            .gif, or a video file, which is anything FFmpeg reads. Only what is asked for is decoded and held.
        first: from 0.
        count: at least 1.

    Raises:
        DataError: nothing there, or something that cannot be read; the message names the file and the reason.
        MissingPackage: PyAV or Pillow is needed and not installed.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        return Recording(read_folder(path, first, count)[None], None)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return Recording(_array(path, first, count), None)
    if suffix in IMAGES:
        raise DataError(f"{path}: is one image, not a video; give its folder to read the images in it")
    frames, fps = (read_gif if suffix == ".gif" else read_container)(path, first, count)
    return Recording(frames[None], fps)


def _array(path: Path, first: int, count: int | None) -> UInt8[np.ndarray, "N T H W 3"]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        reason = "it is cut off" if "mmap length" in str(error) else "not this format, or damaged"
        raise DataError(f"{path}: cannot be read as an array ({reason})") from None
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim not in (4, 5) or array.shape[-1] != 3:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive of arrays"
        raise DataError(f"{path}: holds {found}, expected uint8 (T, H, W, 3) or (N, T, H, W, 3)")
    clips = array if array.ndim == 5 else array[None]
    return np.ascontiguousarray(clips[:, first:] if count is None else clips[:, first : first + count])
