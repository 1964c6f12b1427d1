"""What a Matroska or WebM file says of where its video ends: a file that was cut keeps the header of the whole."""

from __future__ import annotations

import re
from typing import Any

MICROSECONDS = 1_000_000  # FFmpeg's unit of a container's duration
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def stated_end_s(container: Any, stream: Any) -> float | None:
    """Seconds from time stamp 0 to the video's end as the header has it; None where nobody can tell.

    The stream's own tag DURATION counts, where FFmpeg or mkvmerge wrote one, but no more than the whole file's
    duration: a tool that shortens a file may copy the tag. The whole file's alone counts where nothing but the video
    is in it: sound may last longer.

    Args:
        container: an open PyAV container.
        stream: its video stream.
    """
    whole = container.duration / MICROSECONDS if container.duration else None
    tags = {key.upper(): value for key, value in stream.metadata.items()}
    own = next((tags[key] for key in sorted(tags) if key == "DURATION" or key.startswith("DURATION-")), None)
    match = _CLOCK.match(own or "")
    if match is None:
        return whole if len(container.streams) == 1 else None
    seconds = int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    return seconds if whole is None else min(seconds, whole)
