"""How a data set's frames were brought to their size, in words, for protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CROPS = {"none": "the whole frame", "center": "the largest centred square"}
RESIZES = {"antialias": "antialiased (triangle filter)", "area": "area means"}


def resize_in_words(data: Mapping[str, Any]) -> str:
    """Crop and filter (moso.frames.resize) in the words of protocol files; "" of a cache that does not say them.

    Args:
        data: a frame cache's data.json (`FrameCache.data`): `crop` and `resize` as the data set's spec has them.
    """
    if "crop" not in data or "resize" not in data:
        return ""
    return f"{CROPS[data['crop']]}, {RESIZES[data['resize']]}"
