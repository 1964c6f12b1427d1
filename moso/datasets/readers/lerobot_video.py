"""An episode's frames out of a LeRobot video file, by time stamp.

Row i of the data file is shown at from_timestamp + timestamp[i]. It gets the frame whose own time stamp lies within the
tolerance of that, and no other one: where there is none, or one more than there are rows, the episode is refused with
the two times. So a frame can neither be shifted nor shown twice silently.

T frames of an episode, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from moso.datasets.readers.lerobot_episodes import Stretch
from moso.datasets.readers.lerobot_info import Camera
from moso.errors import DataError
from moso.video.packages import need
from moso.video.streaming import stream_timed

CHUNK = 8
CHUNK_BYTES = 1 << 26


def check_timestamps(stamps: Float[np.ndarray, "T"], tolerances: Float[np.ndarray, "T"], fps: float) -> None:
    """Refuse time stamps of a data file that are not i / fps within the tolerance.

    Raises:
        DataError: a gap, a duplicate or a drift; with the frame and the two times.
    """
    expected = np.arange(len(stamps)) / fps
    wrong = np.flatnonzero(~(np.abs(stamps - expected) <= tolerances))
    if not len(wrong):
        return
    frame = int(wrong[0])
    stamp, before = float(stamps[frame]), float(stamps[frame - 1]) if frame else -math.inf
    if stamp - before <= 0.5 / fps:
        what = "a duplicate"
    elif stamp - expected[frame] >= 0.5 / fps:
        what = "a gap"
    else:
        what = "a drift"
    raise DataError(
        f"frame {frame}: {what} in the data file: time stamp {stamp:.6f} s, expected {expected[frame]:.6f} s"
    )


def frames_at(
    path: Path,
    camera: Camera,
    stretch: Stretch,
    stamps: Float[np.ndarray, "T"],
    tolerances: Float[np.ndarray, "T"],
    fps: float,
) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
    """The frame of each time stamp, a few at a time.

    Args:
        path: of the video file.
        camera: its size is checked where info.json declares one.
        stretch: the episode's part of the file.
        stamps: seconds since the episode's beginning, increasing.
        tolerances: how far a frame's stamp may lie from the one asked for, below half a frame's time.
        fps: frames a second.

    Raises:
        DataError: the file is missing, damaged or cut off, or its frames are not those that `stamps` ask for.
    """
    where = f"camera {camera.key}"
    wanted = stretch.from_s + stamps
    half = 0.5 / fps
    if stretch.to_s is not None and abs((stretch.to_s - stretch.from_s) - len(stamps) / fps) >= half:
        raise DataError(
            f"{where}: wrong number of frames: {len(stamps)} in the data file, the video's part from "
            f"{stretch.from_s:.6f} to {stretch.to_s:.6f} s has {(stretch.to_s - stretch.from_s) * fps:.1f}"
        )
    if not path.is_file():
        raise DataError(f"{where}: {stretch.file} is missing")
    if path.stat().st_size == 0:
        raise DataError(f"{where}: {stretch.file} is empty")
    # LeRobot's times are the file's own; stream_timed counts from the first frame, which need not be at 0.
    origin = _origin(path)
    end = math.inf if stretch.to_s is None else float(wanted[-1]) + half
    found, ready = 0, []
    for seconds, frame in stream_timed(path, float(wanted[0]) - half - origin, end - origin, name=stretch.file):
        stamp = seconds + origin
        _check(where, found, stamp, wanted, tolerances, half)
        if camera.height is not None and frame.shape[:2] != (camera.height, camera.width):
            size = f"{frame.shape[0]} x {frame.shape[1]}"
            raise DataError(f"{where}: {size} pixels, info.json declares {camera.height} x {camera.width}")
        ready.append(frame)
        found += 1
        if len(ready) >= min(CHUNK, max(1, CHUNK_BYTES // frame.nbytes)):
            yield np.stack(ready)
            ready = []
    if found < len(wanted):
        last = "which has no frame there" if not found else f"whose last frame there is at {wanted[found - 1]:.6f} s"
        raise DataError(
            f"{where}, frame {found}: wrong number of frames: {found} of {len(wanted)} are in {stretch.file}, {last}; "
            f"expected one at {wanted[found]:.6f} s"
        )
    if ready:
        yield np.stack(ready)


def _check(
    where: str,
    frame: int,
    stamp: float,
    wanted: Float[np.ndarray, "T"],
    tolerances: Float[np.ndarray, "T"],
    half: float,
) -> None:
    """Refuse a video's frame at `stamp` that is not the one asked for next."""
    before = float(wanted[frame - 1]) if frame else -math.inf
    if frame == len(wanted):
        # After the last frame: one more of the same time, or a longer video.
        what = "a duplicate" if stamp - before < half else "wrong number of frames"
        raise DataError(
            f"{where}, frame {frame}: {what} in the video: one more at {stamp:.6f} s, the last is expected at "
            f"{before:.6f} s"
        )
    off = stamp - float(wanted[frame])
    if abs(off) <= tolerances[frame]:
        return
    if off >= half:
        what = "a gap"
    elif stamp - before < half:
        what = "a duplicate"
    else:
        what = "a drift"
    raise DataError(
        f"{where}, frame {frame}: {what} in the video: a frame at {stamp:.6f} s, expected one at {wanted[frame]:.6f} s"
    )


def _origin(path: Path) -> float:
    """Seconds at which a file's first frame stands; 0 where it cannot be opened, of which stream_timed says why."""
    av = need("av", f"reading {path}")
    av.logging.set_level(None)
    try:
        with path.open("rb") as file, av.open(file, options={"protocol_whitelist": "none"}) as container:
            (stream, *_) = container.streams.video
            return float((stream.start_time or 0) * stream.time_base)
    except (av.FFmpegError, OSError, ValueError):
        return 0.0
