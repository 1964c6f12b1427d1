"""What was measured, exactly: figures of two protocols are never compared.

A figure without its protocol says little: the number of given frames, whether they count, the clips, the samples a
video and the metric's convention each move it by decibels. The digest names all of it in one word. Sampling
steps and temperatures are no part of it: they belong to the model, and a candidate may be better by sampling better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moso.errors import ConfigError
from moso.evaluation.metrics import CONVENTIONS
from moso.provenance import digest_json


@dataclass(frozen=True)
class Protocol:
    """The setting of an evaluation, as it was run.

    Attributes:
        data_set: name of the data set.
        split: "test", or "validation" for choosing settings.
        splits: how the data set was split: rule, published lists by sha256, and whether a seeded substitute stands in
            for one that could not be had (moso.datasets.splits); {} of a cache that does not say it.
        clips_digest: of the clips' ids and pixels (`clips_digest`): the same clips, whatever else the data set holds.
        clips: number of clips; of an unconditional protocol, of the reference.
        episodes: number of episodes that they come from.
        clip_rule: how clips were taken from episodes.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        given_frames: K; 0 where nothing is given.
        clip_frames: T, the model's window.
        predicted_frames: frames that are scored (of an unconditional protocol: drawn).
        given_frames_count: whether the given frames enter the figures.
        samples_per_video: videos drawn a clip.
        seed: that the sampling seeds derive from.
        task: "prediction", "interpolation", "reconstruction" or "unconditional".
        best_of: which of several samples of a video counts: "none" (their mean), "each_metric_over_video_mean".
        carry: frames that a rollout's next window is given; None without one.
        fade: whether a rollout's joints are spread over two frames; False without a rollout.
        fvd: how videos enter the FVD: batch, reference.
        videos_drawn: of an unconditional protocol; None elsewhere.
        resize: how frames were brought to their size, in words; their pixels are in `clips_digest`.
        metrics: metric -> its convention and unit.
        networks: file -> sha256 of the pretrained networks that these metrics rest on, whether they are there or not.
    """

    data_set: str
    split: str
    clips_digest: str
    clips: int
    episodes: int
    clip_rule: str
    height: int
    width: int
    given_frames: int
    clip_frames: int
    predicted_frames: int
    samples_per_video: int
    seed: int
    splits: Mapping[str, Any] = field(default_factory=dict)
    given_frames_count: bool = False
    task: str = "prediction"
    best_of: str = "none"
    carry: int | None = None
    fade: bool = False
    fvd: Mapping[str, Any] = field(default_factory=dict)
    videos_drawn: int | None = None
    resize: str = ""
    metrics: Mapping[str, str] = field(default_factory=lambda: dict(CONVENTIONS))
    networks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = 1 if self.task in ("prediction", "interpolation") else 0
        if not least <= self.given_frames < self.clip_frames:
            raise ConfigError(
                "protocol.given_frames",
                self.given_frames,
                f"must lie in {least} to {self.clip_frames - 1}, below clip_frames",
            )
        if self.predicted_frames < 1:
            raise ConfigError("protocol.predicted_frames", self.predicted_frames, "must be at least 1")
        if self.clips < 1 or self.episodes < 1:
            raise ConfigError("protocol.clips", self.clips, "at least one clip of one episode is needed")

    @property
    def digest(self) -> str:
        """sha256 over every field."""
        return digest_json(self)


def clips_digest(ids: Iterable[str], frames: Iterable[np.ndarray]) -> str:
    """sha256 over clip ids and the sha256 of each clip's pixels, in order.

    Args:
        ids: `episode@first_frame` of each clip.
        frames: uint8 (T, H, W, 3) of each clip.
    """
    outer = hashlib.sha256()
    for name, clip in zip(ids, frames, strict=True):
        pixels = np.ascontiguousarray(clip, dtype=np.uint8)
        outer.update(f"{name} {pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}\n".encode())
    return outer.hexdigest()


def splits_in_words(label: Mapping[str, Any]) -> str:
    """The label of a data set's splits (moso.datasets.splits) in words, for reports; "" of an empty one."""
    rules = {
        "id_ranges": "by ranges of the recordings' numbers",
        "patterns": "by patterns of the recordings' names",
        "lists": "by published lists",
        "hash": "by a seeded hash of the recordings' names (no published split)",
        "recorded": "as the data itself says",
    }
    if not label:
        return ""
    if label.get("substitute"):
        return f"SUBSTITUTE: a seeded hash (seed {label['seed']}) stands in for a published list that could not be had"
    lists = ", ".join(f"{file} ({sha256[:12]})" for file, sha256 in label.get("lists", {}).items())
    return rules[label["rule"]] + (f": {lists}" if lists else "")


@dataclass(frozen=True)
class NotComputed:
    """A metric that is left out, with the reason and the command that will enable it: shown in place of a number."""

    metric: str
    reason: str
    command: str
