"""What FFmpeg does not say of an AVI: whether the file ends early, and which frames it only holds as "the one before".

An AVI is a list of chunks (RIFF: 4 characters, a length, as many bytes, padded to an even number). A chunk of a video
stream without bytes, or MPEG-4's picture that is "not coded", means that the last frame stays: a recorder wrote it
where it had no new one. Frame numbers, such as those of lists of ranges, count it.
Reference: Microsoft, "AVI RIFF File Reference" and "AVIOLDINDEX structure".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from typing import Any

INDEX_ENTRY = struct.Struct("<4sIII")  # chunk, flags, place, length
UNKNOWN = 0xFFFFFFFF
VIDEO_CHUNKS = (b"00dc", b"00db")  # of the file's first stream


def is_cut_off(file: BufferedIOBase, size: int) -> bool:
    """Whether a chunk of the outermost level (RIFF, one a gigabyte) is longer than what is left of the file."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF" or length == UNKNOWN:
            return False  # what another program appended; or the writer could not go back to say the length
        if place + 8 + length > size:
            return True
        place += 8 + length + length % 2
    return False


def empty_frames(file: BufferedIOBase, size: int) -> int:
    """How many chunks of the first stream's frames have no bytes, by the file's index; 0 where it has none."""
    place = 12
    while place + 8 <= size:
        file.seek(place)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind == b"idx1":
            whole = min(length, size - place - 8) // INDEX_ENTRY.size * INDEX_ENTRY.size
            entries = INDEX_ENTRY.iter_unpack(file.read(whole))
            return sum(chunk in VIDEO_CHUNKS and not count for chunk, _, _, count in entries)
        place += 8 + length + length % 2
    return 0


def with_repeats(frames: Iterator[Any], stream: Any, allowed: Callable[[], int]) -> Iterator[Any]:
    """FFmpeg's frames, each as often as the file shows it; an AVI's time stamps are numbers of frames.

    Where frames are decoded in another order than they are shown, AVI's time stamps say nothing, and they come as they
    are.

    Args:
        frames: decoded.
        stream: FFmpeg's.
        allowed: how many repeats the file has up to the last frame: time stamps may be damaged.
    """
    shown = repeated = 0
    last = None
    for frame in frames:
        if stream.codec_context.has_b_frames:
            yield frame
            continue
        number = shown if frame.pts is None else frame.pts - (stream.start_time or 0)
        while last is not None and shown < number and repeated < allowed():
            shown, repeated = shown + 1, repeated + 1
            yield last
        shown, last = shown + 1, frame
        yield frame
    while last is not None and shown < stream.frames and repeated < allowed():
        shown, repeated = shown + 1, repeated + 1
        yield last
