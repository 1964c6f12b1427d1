"""Video files through PyAV: anything FFmpeg reads in (streaming.py), .mp4 out.

Legend: T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from moso.video.packages import need
from moso.video.streaming import probe, stream

# The first that this PyAV can write. Its wheels have libx264; a build without it still writes a file that plays.
CODECS = ("libx264", "libopenh264", "mpeg4")
# High enough to look at single frames. The same frames give the same bytes: one thread, and a constant quantiser in
# place of x264's rate control, whose macroblock tree (mbtree) differed from run to run on small pictures.
QUALITY = {
    "libx264": {"qp": "14", "threads": "1"},
    "libopenh264": {"b": "4M"},
    "mpeg4": {"qmin": "1", "qmax": "2", "threads": "1"},
}
BT601, TV_RANGE = 6, 1  # what FFmpeg converts RGB with where nothing is said; said in the file, players agree


def read_container(path: Path, first: int, count: int | None) -> tuple[UInt8[np.ndarray, "T H W 3"], float | None]:
    """Frames [first, first + count) of the first video stream, rotated as the file says, and its frames per second.

    Fewer frames come back where the video is shorter. Pixels' aspect ratio and time stamps are not read: a frame is a
    frame.

    Raises:
        DataError: no video, a damaged or truncated one, or frames of several sizes.
        MissingPackage: PyAV is not installed.
    """
    facts = probe(path)
    chunks = list(stream(path, first=first, count=count))
    if not chunks:
        return np.empty((0, facts.height, facts.width, 3), dtype=np.uint8), facts.fps
    return np.concatenate(chunks), facts.fps


def write_mp4(
    path: Path, frames: UInt8[np.ndarray, "T H W 3"], fps: float, codecs: Sequence[str] = CODECS
) -> tuple[str, ...]:
    """An .mp4 of one video, H.264 with 4:2:0 colours; odd sizes are padded by repeating the last row or column.

    The same frames and PyAV give the same bytes.

    Returns:
        What the caller did not ask for, a phrase each: the padding, another codec than H.264.

    Raises:
        MissingPackage: PyAV is not installed.
    """
    av = need("av", f"writing {path}")
    av.logging.set_level(None)
    codec = next(name for name in codecs if _writable(av, name))
    notes = [] if codec != "mpeg4" else ["coded as MPEG-4 part 2: this PyAV has no H.264 encoder"]
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        notes.append(f"padded from {_by((height, width))} to {_by((height + height % 2, width + width % 2))} pixels")
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=QUALITY[codec])
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = BT601, TV_RANGE
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return tuple(notes)


def _writable(av: Any, codec: str) -> bool:
    try:
        av.codec.Codec(codec, "w")
    except av.error.FFmpegError:
        return False
    except ValueError:  # how PyAV says "unknown codec"
        return False
    return True


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
