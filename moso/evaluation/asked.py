"""The asked protocol of a run: a named file with settings laid over it, or one made of the model's own sizes."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from moso.errors import ConfigError
from moso.evaluation.protocol_file import ProtocolFile

METRICS = ("psnr", "ssim", "lpips_alex", "fvd")
"""Those of the paper's prediction tables; what needs a network that is not there is said to be not computed."""
VIDEOS_DRAWN = 2048
"""Videos of an unconditional evaluation: the paper's 2048 of UCF101."""


def made_for(data_set: str, given_frames: int, clip_frames: int, height: int, width: int) -> dict[str, Any]:
    """Plain data of the protocol of a model of these sizes, where none is named: T - K frames, one sample a clip.

    Its title is made of what is asked in the end (`title_of`). A model of nothing given (K = 0) is measured by what it
    draws.
    """
    sizes = {"data_set": data_set, "clip_frames": clip_frames, "height": height, "width": width}
    words = {"source": "ours", "resize": "as the frame cache holds it"}
    if given_frames == 0:
        return {
            **sizes,
            **words,
            "task": "unconditional",
            "given_frames": 0,
            "predicted_frames": clip_frames,
            "videos": VIDEOS_DRAWN,
            "fvd": {"reference": "all_test_clips"},
            "metrics": ["fvd"],
        }
    predicted = clip_frames - given_frames
    return {
        **sizes,
        **words,
        "task": "prediction",
        "given_frames": given_frames,
        "predicted_frames": predicted,
        "metrics": list(METRICS),
    }


def title_of(values: Mapping[str, Any]) -> str:
    """Title of a protocol without a file, from its plain data: "robot 64, 2 -> 10"."""
    what = {
        "prediction": f"{values.get('given_frames')} -> {values.get('predicted_frames')}",
        "interpolation": "every second frame filled in",
        "reconstruction": f"reconstruction of {values.get('predicted_frames')} frames",
        "unconditional": f"{values.get('predicted_frames')} frames from nothing",
    }
    samples = values.get("samples_per_video", 1)
    many = f", {samples} samples a video" if samples != 1 else ""
    return f"{values['data_set']} {values['height']}, {what.get(values['task'], values['task'])}{many}"


def require_sizes(asked: ProtocolFile, given_frames: int, clip_frames: int, height: int, width: int) -> None:
    """Refuse a protocol that a model of these sizes cannot be measured by.

    Raises:
        ConfigError: names the field, what the protocol asks and what the model is.
    """
    sizes = {"height": height, "width": width, "clip_frames": clip_frames}
    if asked.task == "prediction":
        sizes["given_frames"] = given_frames
    for name, ours in sizes.items():
        if getattr(asked, name) != ours:
            raise ConfigError(
                f"evaluate.protocol.{name}",
                getattr(asked, name),
                f"the model has {ours}",
                "name a protocol of the model's sizes (moso/protocols), or null: one is then made of them",
            )
    if asked.task == "prediction" and asked.carry not in (None, given_frames):
        raise ConfigError("evaluate.protocol.carry", asked.carry, f"a rollout carries K = {given_frames} frames")


def check_fields(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values`, whose names must be fields of a protocol; what they hold is checked where the protocol is made.

    Raises:
        ConfigError: an unknown name; the nearest known one is named.
    """
    known = [field.name for field in dataclasses.fields(ProtocolFile)]
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise ConfigError(f"{where}.{key}", value, "unknown setting", f"did you mean {near[0]!r}?")
    return dict(values)
