"""Video files through PyAV: anything FFmpeg reads in, .mp4 out.

Legend: T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from moso.errors import DataError
from moso.video.packages import need

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
    av = need("av", f"reading {path}")
    av.logging.set_level(None)  # what FFmpeg would print beside the error
    try:
        # Local files only: a playlist named .mp4 must not make a connection.
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise DataError(f"{path}: holds no video")
            stream = container.streams.video[0]
            # MP4 and MOV say where each frame lies; FFmpeg does not mind if the file ends before.
            ends = [entry.pos + entry.size for entry in stream.index_entries] if "mp4" in container.format.name else []
            if max(ends, default=0) > path.stat().st_size:
                raise DataError(f"{path}: ends before the last frame of its table of contents; it is cut off")
            rate = stream.average_rate or stream.guessed_rate
            frames = [_upright(frame) for frame in islice(_decoded(path, container, stream), first, _end(first, count))]
    except av.FFmpegError as error:
        # "End of file" is what FFmpeg says of a file that ends before its table of contents.
        cut = isinstance(error, av.error.EOFError)
        reason = "it is cut off" if cut else error.strerror or type(error).__name__
        raise DataError(f"{path}: cannot be read as a video ({reason}); it is damaged, cut off or none") from None
    sizes = sorted({frame.shape[:2] for frame in frames})
    if len(sizes) > 1:
        raise DataError(f"{path}: frames of several sizes ({_by(sizes[0])} and {_by(sizes[1])} pixels)")
    if not frames:
        height, width = stream.height, stream.width
        return np.empty((0, height, width, 3), dtype=np.uint8), float(rate) if rate else None
    return np.stack(frames), float(rate) if rate else None


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


def _decoded(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    """The stream's frames; damage is an error and no missing frame."""
    decoded = 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise DataError(f"{path}: damaged or cut off after {decoded} frame{'' if decoded == 1 else 's'}")
        for frame in packet.decode():
            if frame.is_corrupt:
                raise DataError(f"{path}: frame {decoded} is damaged")
            decoded += 1
            yield frame
    if not decoded:
        raise DataError(f"{path}: not one frame in it; it is damaged or cut off")
    # AVI says in its header how many frames there are and ends without an error where it was cut.
    if container.format.name == "avi" and decoded < stream.frames:
        raise DataError(f"{path}: holds {decoded} of {stream.frames} frames; it is cut off")


def _upright(frame: Any) -> UInt8[np.ndarray, "H W 3"]:
    """The frame as a player shows it: phones store a portrait lying on its side and a note about it."""
    turned: UInt8[np.ndarray, "H W 3"] = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
    return turned


def _writable(av: Any, codec: str) -> bool:
    try:
        av.codec.Codec(codec, "w")
    except av.error.FFmpegError:
        return False
    except ValueError:  # how PyAV says "unknown codec"
        return False
    return True


def _end(first: int, count: int | None) -> int | None:
    return None if count is None else first + count


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
