"""Video files of any length, decoded a few frames at a time through PyAV; memory stays bounded.

    facts = probe(Path("push.mp4"))                      # frames a second, size
    for frames in stream(Path("push.mp4"), first=30):    # uint8 (n, H, W, 3), n <= 8
        …
    for seconds, frame in stream_timed(Path("file-000.mp4"), 12.0, 14.5):
        …

A video is a path or the bytes of a whole file. Anything FFmpeg reads; its first video stream, turned as the file says.
A frame is a frame: none is left out or shown twice for the sake of a steady rate, and pixels' aspect ratio is not read.
Damage is found as far as FFmpeg finds it: a coding without checksums takes some damaged bytes for another picture.
Where an AVI says that the frame before stays (avi.py), `stream` counts and yields it again, as the file does.

Legend: n frames of a chunk, H W pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from moso.errors import DataError
from moso.video import avi, matroska
from moso.video.packages import need

Video = Path | str | bytes
CHUNK = 8
CHUNK_BYTES = 1 << 26  # no chunk is larger, but for a single frame
MAX_PIXELS = 1 << 26  # of a frame: a damaged header may claim more than there is memory
BUFFER_BYTES = 1 << 16
SEEK_BACK_S = (0, 1, 4, 16, 64)
IN_MEMORY = "video in memory"
# FFmpeg's names of what is no video itself but a list of other files.
PLAYLISTS = frozenset({"concat", "dash", "hls", "imf", "mpl2", "rtsp", "sdp", "vobsub", "webm_dash_manifest"})


@dataclass(frozen=True)
class Facts:
    """What a file says of its first video stream before a frame of it is decoded.

    Attributes:
        fps: frames a second, on average; None where it does not say.
        height: of a frame as it is stored, in pixels, 0 where it does not say; frames may be turned (`stream`).
        width: likewise.
        frames: how many; 0 where it does not say. A claim, not a count.
        pixel_format: FFmpeg's name, "yuv420p" or "gray12le"; "" where it does not say.
    """

    fps: float | None
    height: int
    width: int
    frames: int
    pixel_format: str


def probe(video: Video, *, name: str = "") -> Facts:
    """What the file says of itself; no frame is decoded.

    Args:
        video: a path, or the bytes of a file.
        name: what messages call it; the path where it is "".

    Raises:
        DataError: no video, or a damaged or cut off one.
        MissingPackage: PyAV is not installed.
    """
    with _opened(video, name) as opened:
        return _facts(opened.stream)


def stream(
    video: Video, *, first: int = 0, count: int | None = None, chunk: int = CHUNK, name: str = ""
) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
    """Frames [first, first + count) in the order of their display, RGB [0, 255], `chunk` at a time (the last: fewer).

    Fewer frames come where the video is shorter, all where `count` is None. Frames before `first` are decoded too.

    Args:
        video: a path, or the bytes of a file.
        first: from 0.
        count: at least 0.
        chunk: at least 1.
        name: what messages call it; the path where it is "".

    Raises:
        DataError: no video, a damaged or cut off one, or frames of several sizes; while it is read, so that the frames
            before the damage have been yielded.
        MissingPackage: PyAV is not installed.
    """
    with _opened(video, name) as opened:
        decoded = islice(opened.shown(), first, None if count is None else first + count)
        frames = (opened.upright(frame) for frame in decoded)
        for frame in frames:
            more = islice(frames, min(chunk, max(1, CHUNK_BYTES // frame.nbytes)) - 1)
            yield np.stack([frame, *more])


def stream_timed(
    video: Video, start_s: float, end_s: float, *, name: str = ""
) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"]]]:
    """The frames shown from `start_s` (included) to `end_s` (not), each with its exact time stamp, in order.

    Decoding begins at the last key frame that is not after `start_s`, so that a short stretch of a long file is cheap.

    Args:
        video: a path, or the bytes of a file.
        start_s: in seconds from the stream's first time stamp. Time stamps are fractions: leave half a frame's time
            of room on either side where a certain frame is meant.
        end_s: likewise.
        name: what messages call it; the path where it is "".

    Yields:
        (seconds from the stream's first time stamp, frame RGB [0, 255]).

    Raises:
        DataError: as in `stream`, or frames without time stamps or with stamps that do not increase.
        MissingPackage: PyAV is not installed.
    """
    for sought in (True, False):
        with _opened(video, name) as opened:
            origin, base = opened.stream.start_time or 0, opened.stream.time_base
            if sought and start_s > 0 and not opened.seek(origin + math.floor(start_s / base)):
                continue  # from the beginning, then, of a file opened anew
            last = -math.inf
            for frame in opened.decoded():
                if frame.pts is None:
                    raise DataError(f"{opened.name}: frames without time stamps")
                seconds = float((frame.pts - origin) * base)
                if seconds >= end_s:
                    return
                if seconds < start_s:
                    continue
                if seconds <= last:
                    raise DataError(f"{opened.name}: the time stamp {seconds:g} s comes after {last:g} s")
                last = seconds
                yield seconds, opened.upright(frame)
            return


class _Opened:
    """An open container and its first video stream."""

    def __init__(self, av: Any, container: Any, name: str, file: io.BufferedIOBase, size: int) -> None:
        self.av, self.container, self.name = av, container, name
        if PLAYLISTS & set(container.format.name.split(",")):
            raise DataError(f"{name}: is a list of other files ({container.format.name}), no video")
        if not container.streams.video:
            raise DataError(f"{name}: holds no video")
        self.stream = container.streams.video[0]
        if self.stream.codec_context is None:
            raise DataError(f"{name}: its video is coded in a way that FFmpeg does not know; it is damaged or too new")
        self.format: str = container.format.name
        # One thread: readers run in several processes, and FFmpeg holds frames for each thread.
        self.stream.codec_context.thread_count = 1
        self.stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self.reformatter = av.video.reformatter.VideoReformatter()  # one for all frames: it keeps its tables
        self.shape: tuple[int, ...] | None = None
        self.begins_at: int | None = None  # the time stamp of the key frame that was sought
        # MP4 and MOV say where each frame lies; FFmpeg does not mind if the file ends before.
        if "mp4" in self.format and any(entry.pos + entry.size > size for entry in self.stream.index_entries):
            raise DataError(f"{name}: ends before the last frame of its table of contents; it is cut off")
        self.packets = self.frames = 0  # read, and decoded
        self.empty = 0  # frames of an AVI that it holds as "the one before"
        if self.format == "avi":
            if avi.is_cut_off(file, size):
                raise DataError(f"{name}: ends before its header says; it is cut off")
            self.empty = avi.empty_frames(file, size)
        self.end_s = matroska.stated_end_s(container, self.stream) if "matroska" in self.format else None
        self.last_s: float | None = None  # time stamp of the last frame
        self.gap_s = 0.0  # the longest from one frame to the next

    def seek(self, stamp: int) -> bool:
        """Go to a key frame that is shown at or before `stamp` (units of the stream); False where none is found.

        Containers seek by the order of decoding, which lies before that of display, and some find no key frame.
        """
        for back_s in SEEK_BACK_S:
            point = stamp - math.ceil(back_s / self.stream.time_base)
            try:
                self.container.seek(point, stream=self.stream)
                packet = next(self.container.demux(self.stream))
                if packet.is_keyframe and packet.pts is not None and packet.pts <= stamp:
                    self.container.seek(point, stream=self.stream)
                    self.begins_at = packet.pts
                    return True
            except self.av.FFmpegError:
                return False
        return False

    def decoded(self) -> Iterator[Any]:
        """Every frame from where the container stands; damage is an error and no missing frame."""
        for packet in self.container.demux(self.stream):
            self.packets += packet.size > 0
            if packet.is_corrupt:
                after = f"{self.frames} frame{'' if self.frames == 1 else 's'}"
                raise DataError(f"{self.name}: damaged or cut off after {after}")
            for frame in packet.decode():
                if self.begins_at is not None and frame.pts is not None and frame.pts < self.begins_at:
                    continue  # it follows the key frame in the file and may need what lies before
                if frame.is_corrupt:
                    raise DataError(f"{self.name}: frame {self.frames} is damaged")
                self.frames += 1
                self._clock(frame)
                yield frame
        self._check_end()
        if self.begins_at is not None:
            return
        if not self.frames:
            raise DataError(f"{self.name}: not one frame in it; it is damaged or cut off")
        # AVI says in its header how many frames there are; FFmpeg passes over what it cannot make out.
        if self.format == "avi" and self.frames + self.repeats() < self.stream.frames:
            counts = f"{self.frames} of {self.stream.frames} frames"
            raise DataError(f"{self.name}: holds {counts}; it is damaged or cut off")

    def _clock(self, frame: Any) -> None:
        if frame.time is not None:
            if self.last_s is not None:
                self.gap_s = max(self.gap_s, frame.time - self.last_s)
            self.last_s = frame.time

    def _check_end(self) -> None:
        """Matroska says how long the video lasts; FFmpeg takes a file that ends before for a shorter one."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        if self.end_s is None or self.last_s is None or not rate:
            return
        frame_s = max(1 / float(rate), self.gap_s)  # the last frame may last as long as another did
        if self.last_s + frame_s < self.end_s - 1.5 * frame_s:
            raise DataError(
                f"{self.name}: ends after {self.frames} frames at {self.last_s:.3f} s, its header says "
                f"{self.end_s:.3f} s; it is damaged or cut off"
            )

    def repeats(self) -> int:
        """How many frames, of those up to here, an AVI may hold as "the one before"."""
        not_coded = self.packets - self.frames if self.stream.codec_context.name == "mpeg4" else 0
        return self.empty + not_coded

    def shown(self) -> Iterator[Any]:
        """Every frame from the beginning, as often as it is shown by the file's own count of frames."""
        if self.format == "avi":
            return avi.with_repeats(self.decoded(), self.stream, self.repeats)
        return self.decoded()

    def upright(self, frame: Any) -> UInt8[np.ndarray, "H W 3"]:
        """The frame as a player shows it: phones store a portrait lying on its side and a note about it."""
        picture = self.reformatter.reformat(frame, format="rgb24").to_ndarray()
        turned: UInt8[np.ndarray, "H W 3"] = np.rot90(picture, round(frame.rotation / 90) % 4)
        if self.shape is None:
            self.shape = turned.shape
        if turned.shape != self.shape:
            sizes = " and ".join(f"{height} x {width}" for height, width, _ in (self.shape, turned.shape))
            raise DataError(f"{self.name}: frames of several sizes ({sizes} pixels)")
        return turned


@contextmanager
def _opened(video: Video, name: str) -> Iterator[_Opened]:
    """The container, and what FFmpeg raises while it is used as a DataError of one line."""
    name = name or (IN_MEMORY if isinstance(video, bytes) else str(video))
    av = need("av", f"reading {name}")
    av.logging.set_level(None)  # what FFmpeg would print beside the error
    try:
        # FFmpeg reads through our own file and opens nothing: a playlist named .mp4 must not lead to another file.
        with _file(video) as file, _file(video) as source:
            size = file.seek(0, io.SEEK_END)
            options = {"protocol_whitelist": "none"}
            with av.open(source, options=options, metadata_errors="replace", buffer_size=BUFFER_BYTES) as container:
                yield _Opened(av, container, name, file, size)
    except av.FFmpegError as error:
        # "End of file" is what FFmpeg says of a file that ends before its table of contents.
        cut = isinstance(error, av.error.EOFError)
        reason = "it is cut off" if cut else error.strerror or type(error).__name__
        raise DataError(f"{name}: cannot be read as a video ({reason}); it is damaged, cut off or none") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from None


def _file(video: Video) -> io.BufferedIOBase:
    return io.BytesIO(video) if isinstance(video, bytes) else open(video, "rb")


def _facts(stream: Any) -> Facts:
    rate = stream.average_rate or stream.guessed_rate
    return Facts(
        fps=float(rate) if rate else None,
        height=stream.height or 0,
        width=stream.width or 0,
        frames=stream.frames,
        pixel_format=stream.codec_context.pix_fmt or "",
    )
