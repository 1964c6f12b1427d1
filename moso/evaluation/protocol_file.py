"""Protocols as data: what an evaluation is asked to measure, read from moso/protocols/<dataset>/<name>.yaml.

A file says what was agreed before anything ran; the realised protocol (moso.evaluation.protocol) adds what the run
really had. Two protocols that differ in any field are never put in one column.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from moso.config import build, check_choices, flat, load_yaml, to_dict
from moso.errors import ConfigError, MismatchError
from moso.provenance import digest_json

PROTOCOLS = Path(__file__).parents[1] / "protocols"
# Said of a protocol, but no part of what is measured.
WORDS = ("name", "title", "source", "digest")
Metric = Literal["psnr", "ssim", "lpips_alex", "lpips_vgg", "lpips_squeeze", "fid", "fvd"]


@dataclass(frozen=True)
class WindowRule:
    """Which windows of an episode become clips.

    Attributes:
        rule: "stride" takes windows one after another, "first" only the first window of an episode.
        stride: frames between two windows' first frames; None is one window's length (none overlap).
        per_episode: pattern of an episode's name (as of fnmatch) -> its own stride, in frames; the first that matches.
        start: the first frame of an episode that is used, from 0.
        skip_end: frames at an episode's end that are never used.
    """

    rule: Literal["stride", "first"] = "stride"
    stride: int | None = None
    per_episode: Mapping[str, int] = field(default_factory=dict)
    start: int = 0
    skip_end: int = 0

    def __post_init__(self) -> None:
        check_choices(self)
        if self.stride is not None and self.stride < 1:
            raise ConfigError(
                "stride", self.stride, "must be at least 1 frame", "remove it: windows then do not overlap"
            )
        for name in ("start", "skip_end"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "must be at least 0 frames")
        for pattern, step in self.per_episode.items():
            if isinstance(step, bool) or not isinstance(step, int) or step < 1:
                raise ConfigError(f"per_episode.{pattern}", step, "must be a whole number of frames, at least 1")


@dataclass(frozen=True)
class FvdRule:
    """How the videos enter the Fréchet video distance.

    Attributes:
        batch: None compares all videos at once; a number compares batches of so many and averages the distances.
        reference: "same_clips" are the true continuations of the evaluated clips, "all_test_clips" every test clip.
    """

    batch: int | None = None
    reference: Literal["same_clips", "all_test_clips"] = "same_clips"

    def __post_init__(self) -> None:
        check_choices(self)
        if self.batch is not None and self.batch < 2:
            raise ConfigError("batch", self.batch, "must be at least 2 videos: one has no covariance")


@dataclass(frozen=True)
class ProtocolFile:
    """The asked setting of an evaluation.

    Attributes:
        title: in words, for tables.
        task: what the model does.
        data_set: name of the data set.
        split: whose episodes are measured.
        given_frames: K; 0 only where nothing is given (unconditional, reconstruction).
        clip_frames: T, the model's window.
        predicted_frames: frames that are scored; above T - K a prediction is rolled out.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        resize: how frames were brought to that size, in words.
        source: section or table of the paper, or "ours".
        windows: which windows of an episode.
        videos: number of videos; None takes all.
        samples_per_video: S, samples drawn a video.
        best_of: "each_metric_over_video_mean" takes, for each metric on its own, the best sample by a video's mean.
        given_frames_count: whether given frames enter the figures.
        metrics: what is computed; an LPIPS's backbone is part of its name.
        fvd: how the videos enter the FVD.
        seed: that the sampling seeds derive from.
        carry: frames that a rollout's next window is given; None is K, or no rollout.
        fade: whether a rollout spreads over two frames what a joint jumps by (moso.tasks.rollout); the paper does not.
        split_lists: file -> sha256 of the published lists that say which recordings, or which ranges of them, are
            measured, as data/specs/<data_set>.yaml names them; {} where there is none, or its sha256 is not known.
        name: of the file, as <dataset>/<name>; "" of a protocol that no file holds.
    """

    title: str
    task: Literal["prediction", "unconditional", "interpolation", "reconstruction"]
    data_set: str
    given_frames: int
    clip_frames: int
    predicted_frames: int
    height: int
    width: int
    resize: str
    source: str
    split: Literal["test", "validation", "train"] = "test"
    windows: WindowRule = field(default_factory=WindowRule)
    videos: int | None = None
    samples_per_video: int = 1
    best_of: Literal["none", "each_metric_over_video_mean"] = "none"
    given_frames_count: bool = False
    metrics: tuple[Metric, ...] = ("psnr", "ssim")
    fvd: FvdRule = field(default_factory=FvdRule)
    seed: int = 0
    carry: int | None = None
    fade: bool = False
    split_lists: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("clip_frames", "predicted_frames", "height", "width", "samples_per_video"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1")
        if self.videos is not None and self.videos < 1:
            raise ConfigError("videos", self.videos, "must be at least 1", "null takes all")
        lowest = 1 if self.task in ("prediction", "interpolation") else 0
        if not lowest <= self.given_frames < self.clip_frames:
            rule = f"must lie in {lowest} to {self.clip_frames - 1} for {self.task}"
            raise ConfigError("given_frames", self.given_frames, rule)
        if self.task == "unconditional" and self.given_frames:
            raise ConfigError("given_frames", self.given_frames, "must be 0: nothing is given unconditionally")
        window = self.clip_frames - self.given_frames
        if self.task != "prediction" and self.predicted_frames > window:
            raise ConfigError("predicted_frames", self.predicted_frames, f"must be at most T - K = {window}; only a "
                              "prediction is rolled out")  # fmt: skip
        if self.carry is not None and not 0 < self.carry < self.clip_frames:
            raise ConfigError("carry", self.carry, f"must lie in 1 to {self.clip_frames - 1}")
        if self.best_of != "none" and self.samples_per_video < 2:
            raise ConfigError("best_of", self.best_of, "needs several samples a video", "raise samples_per_video")
        if self.samples_per_video > 1 and self.task in ("reconstruction", "unconditional"):
            rule = f"must be 1: {self.task} draws one video"
            raise ConfigError("samples_per_video", self.samples_per_video, rule)
        if self.given_frames_count and self.task != "prediction":
            raise ConfigError("given_frames_count", True, "is for predictions alone")
        if self.fvd.reference == "all_test_clips" and self.task != "unconditional":
            rule = "is for unconditional videos alone: others have their own continuations"
            raise ConfigError("fvd.reference", self.fvd.reference, rule, "same_clips would fit")
        for file, sha256 in self.split_lists.items():
            if not re.fullmatch(r"[0-9a-f]{64}", str(sha256)):
                raise ConfigError(f"split_lists.{file}", sha256, "must be a sha256 of 64 hexadecimal digits")
        if not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise ConfigError("metrics", self.metrics, "must name at least one metric, each once")
        if self.task == "unconditional" and set(self.metrics) - {"fid", "fvd"}:
            raise ConfigError("metrics", self.metrics, "without a truth only fid and fvd can be computed")

    @property
    def rolls_out(self) -> bool:
        """Whether more frames are predicted than one window holds."""
        return self.predicted_frames > self.clip_frames - self.given_frames

    @property
    def digest(self) -> str:
        """sha256 over every field but the words about it (name, title, source): a better title changes no figure."""
        return digest_json(_plain(self))


def protocol_names() -> tuple[str, ...]:
    """Every protocol file, as <dataset>/<name>."""
    return tuple(sorted(path.relative_to(PROTOCOLS).with_suffix("").as_posix() for path in PROTOCOLS.glob("*/*.yaml")))


def load_data(name: str) -> dict[str, Any]:
    """The plain data of moso/protocols/<name>.yaml, its name with it: overrides may be laid over it before `build`.

    Raises:
        ConfigError: no such protocol (the known ones are listed).
    """
    known = protocol_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError("evaluate.protocol", name, "no such protocol", f"{hint}known: {', '.join(known)}")
    return {**load_yaml(PROTOCOLS / f"{name}.yaml"), "name": name}


def load_protocol(name: str) -> ProtocolFile:
    """The protocol moso/protocols/<name>.yaml, for example "kth/128".

    Raises:
        ConfigError: no such protocol (the known ones are listed), an unknown key, or a value against its rule.
    """
    return build(ProtocolFile, load_data(name), f"protocols/{name}")


def protocol_differences(a: Any, b: Any) -> list[str]:
    """Each field that differs, with both values: "samples_per_video: 1 | 100"; nested fields by dotted name.

    Args:
        a: a protocol: a dataclass, or its plain data as a report's JSON holds it.
        b: another one.
    """
    left, right = flat(_plain(a)), flat(_plain(b))
    missing = "(not stated)"
    return [
        f"{name}: {left.get(name, missing)!s} | {right.get(name, missing)!s}"
        for name in sorted(left.keys() | right.keys())
        if left.get(name, missing) != right.get(name, missing)
    ]


def require_same_protocol(a: Any, b: Any, names: tuple[str, str] = ("A", "B")) -> None:
    """Refuse to compare figures of different protocols.

    Raises:
        MismatchError: lists every field that differs.
    """
    differences = protocol_differences(a, b)
    if differences:
        raise MismatchError(
            f"{names[0]} and {names[1]} were measured under different protocols, so their figures cannot be compared; "
            f"they differ in: {'; '.join(differences)}"
        )


def _plain(protocol: Any) -> Mapping[str, Any]:
    plain = to_dict(protocol) if dataclasses.is_dataclass(protocol) else to_dict(dict(protocol))
    assert isinstance(plain, dict)
    return {name: value for name, value in plain.items() if name not in WORDS}
