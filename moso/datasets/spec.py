"""What a data set is: data/specs/<name>.yaml as a frozen dataclass.

The spec describes the raw data (format, source, signals, splits, licence, the paper's protocol). What is made of it
(resolution of the cache, clip length) is chosen by the preset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from moso.config import build, check_choices, load_yaml
from moso.datasets.episode import SPLITS, Split
from moso.datasets.readers import FORMATS, reader
from moso.datasets.readers.options import options_of
from moso.errors import ConfigError

__all__ = [
    "SPLITS",
    "DatasetSpec",
    "ListSpec",
    "PaperSpec",
    "SignalSpec",
    "SourceSpec",
    "Split",
    "SplitSpec",
]


@dataclass(frozen=True)
class SourceSpec:
    """Where the raw files come from.

    Attributes:
        kind: "simulate": moso.sim writes them; "folder": they lie in `path`; "archive": `path` is an archive (zip, tar,
            rar) that holds them; "s3": the objects below `url`.
        path: folder or archive; data/<data set>/raw where it is left out, for kind "folder".
        url: s3://bucket/prefix, for kind "s3".
        endpoint: address of the S3 server; the usual chain (AWS_ENDPOINT_URL, AWS itself) where it is left out.
            Credentials come from the usual chain only.
        archives: patterns (as of pathlib) of archives inside the root, which are unpacked first.
        limit_gigabytes: what archives may unpack to, in 10^9 bytes.
    """

    kind: Literal["simulate", "folder", "archive", "s3"]
    path: str | None = None
    url: str | None = None
    endpoint: str | None = None
    archives: tuple[str, ...] = ()
    limit_gigabytes: float = 500.0

    def __post_init__(self) -> None:
        check_choices(self)
        for name, kinds in (
            ("path", ("folder", "archive")),
            ("url", ("s3",)),
            ("endpoint", ("s3",)),
            ("archives", ("folder", "s3")),
        ):
            if getattr(self, name) and self.kind not in kinds:
                raise ConfigError(
                    name, getattr(self, name), f"has no meaning for a source of kind {self.kind!r}", "remove it"
                )
        if self.kind == "archive" and not self.path:
            raise ConfigError("path", self.path, "is required for a source of kind 'archive'", "name the archive")
        if self.kind == "s3" and not (self.url or "").startswith("s3://"):
            raise ConfigError("url", self.url, "must be an address s3://bucket/prefix for a source of kind 's3'")
        if not self.limit_gigabytes > 0:
            raise ConfigError("limit_gigabytes", self.limit_gigabytes, "must be positive")


@dataclass(frozen=True)
class ListSpec:
    """A published list, kept out of the project: its public address and what it must be.

    Attributes:
        file: name under which it is kept (folder MOSO_LISTS, or ~/.cache/moso/lists).
        url: its public address, of a fixed revision.
        lines: their number.
        sha256: of the file.
        split: the split whose recordings it names (rule "lists"); None: the reader uses it otherwise.
    """

    file: str
    url: str
    lines: int
    sha256: str
    split: Split | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        if Path(self.file).name != self.file:
            raise ConfigError("file", self.file, "must be a plain file name")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ConfigError("sha256", self.sha256, "must have 64 hexadecimal digits")
        if self.lines < 1:
            raise ConfigError("lines", self.lines, "must be at least 1")


@dataclass(frozen=True)
class SplitSpec:
    """How an episode's split follows from its recording (see moso.datasets.splits).

    Attributes:
        rule: "id_ranges": by the number that the recording ends in. "patterns": by regular expressions. "lists": by the
            spec's published lists. "hash": by a seeded hash. "recorded": as the data itself says.
        train: id_ranges: first number, and the number after the last; patterns: a regular expression that is searched
            for in the recording, asked last.
        validation: likewise; of patterns asked second.
        test: likewise; of patterns asked first.
        seed: of the hash.
        validation_share: of the recordings, [0, 1), by hash: rule "hash", and of rules "lists" and "recorded" the share
            of what would be train.
        test_share: of the recordings, by hash: rule "hash", and rule "lists" where a list cannot be had.
    """

    rule: Literal["id_ranges", "patterns", "lists", "hash", "recorded"]
    train: tuple[int, int] | str | None = None
    validation: tuple[int, int] | str | None = None
    test: tuple[int, int] | str | None = None
    seed: int = 0
    validation_share: float = 0.0
    test_share: float = 0.0

    def __post_init__(self) -> None:
        check_choices(self)
        for name in SPLITS:
            value = getattr(self, name)
            if self.rule == "id_ranges" and not isinstance(value, tuple):
                raise ConfigError(name, value, "rule 'id_ranges' needs a range", "give [first, end)")
            if self.rule == "patterns" and not isinstance(value, str | None):
                raise ConfigError(name, value, "rule 'patterns' needs a regular expression", "give it as text")
            if self.rule not in ("id_ranges", "patterns") and value is not None:
                raise ConfigError(name, value, f"has no meaning for the rule {self.rule!r}", "remove it")
        for share in ("validation_share", "test_share"):
            if not 0 <= getattr(self, share) < 1:
                raise ConfigError(share, getattr(self, share), "must be a share in [0, 1)")
        if self.validation_share + self.test_share >= 1:
            raise ConfigError("test_share", self.test_share, "leaves nothing for training", "lower the shares")
        if self.rule == "hash" and not (self.validation_share and self.test_share):
            raise ConfigError(
                "test_share",
                self.test_share,
                "rule 'hash' needs test_share and validation_share",
                "0.05 is a twentieth",
            )
        if self.rule == "id_ranges":
            self._check_ranges()
        if self.rule == "patterns":
            self._check_patterns()

    def range(self, split: Split) -> tuple[int, int]:
        """The range [first, end) of a split, of rule "id_ranges"."""
        value = getattr(self, split)
        assert isinstance(value, tuple)
        return value

    def _check_ranges(self) -> None:
        taken: list[tuple[int, int, str]] = []
        for name in SPLITS:
            first, end = self.range(name)
            if not 0 <= first < end:
                raise ConfigError(name, [first, end], "must be a range [first, end) with 0 <= first < end")
            for other_first, other_end, other in taken:
                if first < other_end and other_first < end:
                    raise ConfigError(name, [first, end], f"overlaps the range of {other}", "separate the ranges")
            taken.append((first, end, name))

    def _check_patterns(self) -> None:
        if self.train is None:
            raise ConfigError("train", None, "rule 'patterns' needs a regular expression", "'' takes all that is left")
        for name in SPLITS:
            try:
                re.compile(getattr(self, name) or "")
            except re.error as error:
                raise ConfigError(name, getattr(self, name), f"is no regular expression ({error})") from None


@dataclass(frozen=True)
class SignalSpec:
    """What actions or states mean.

    Attributes:
        names: one name a dimension.
        meaning: "absolute" or "delta" (change from this frame to the next); "unknown" where the data does not say it.
        space: "end_effector" or "joint"; "unknown" where the data does not say it, or they are of several kinds.
        units: one unit a dimension; "" where it is not known.
    """

    names: tuple[str, ...]
    meaning: Literal["absolute", "delta", "unknown"]
    space: Literal["end_effector", "joint", "unknown"]
    units: tuple[str, ...]

    def __post_init__(self) -> None:
        check_choices(self)
        if len(self.units) != len(self.names):
            raise ConfigError("units", list(self.units), f"must have one unit for each of {len(self.names)} names")


@dataclass(frozen=True)
class PaperSpec:
    """The paper's protocol on this data set.

    Attributes:
        given_frames: K.
        clip_frames: T, of the model.
        predicted_frames: frames that are predicted in testing, clip after clip where they are more than T - K.
        pixels: heights (= widths) that it reports.
        test_videos: how many videos it tests on; None where our source does not say it.
        citation: where it says so.
    """

    given_frames: int
    clip_frames: int
    predicted_frames: int
    pixels: tuple[int, ...]
    test_videos: int | None = None
    citation: str = ""


@dataclass(frozen=True)
class DatasetSpec:
    """One data set.

    Attributes:
        name: also the file's name and the folder under data/.
        title: one line for reports.
        format: the reader, a module of moso.datasets.readers.
        source: where raw files come from.
        licence: of the data.
        homepage: where the data can be had.
        fps: frames a second of the recordings.
        splits: how an episode's split follows from its recording.
        options: of the reader; its `Options` says which there are.
        lists: published lists.
        episode_frames: every episode's length, where the format fixes it; others are quarantined.
        crop: "none", or "center": the largest centred square.
        resize: "antialias": a triangle filter; "area": the mean over the area that a pixel covers.
        actions: what the actions mean; None where there are none.
        states: what the states mean; None where there are none.
        paper: the paper's protocol; None where it has none.
    """

    name: str
    format: str
    source: SourceSpec
    fps: float
    splits: SplitSpec
    title: str = ""
    licence: str = ""
    homepage: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    lists: tuple[ListSpec, ...] = ()
    episode_frames: int | None = None
    crop: Literal["none", "center"] = "none"
    resize: Literal["antialias", "area"] = "antialias"
    actions: SignalSpec | None = field(default=None)
    states: SignalSpec | None = field(default=None)
    paper: PaperSpec | None = field(default=None)

    def __post_init__(self) -> None:
        check_choices(self)
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", self.name):
            raise ConfigError("name", self.name, "must be letters, digits, '.', '_' and '-': it names folders")
        if self.format not in FORMATS:
            raise ConfigError("format", self.format, "no such reader", f"known: {', '.join(FORMATS)}")
        if not self.fps > 0:
            raise ConfigError("fps", self.fps, "must be positive")
        if self.episode_frames is not None and self.episode_frames < 1:
            raise ConfigError(
                "episode_frames", self.episode_frames, "must be at least 1", "leave it out if lengths vary"
            )
        if self.splits.rule == "lists" and not any(item.split for item in self.lists):
            raise ConfigError("lists", [], "rule 'lists' needs a list with a split", "name its file, url and sha256")
        options_of(self, reader(self.format).Options)

    @classmethod
    def load(cls, path: Path) -> DatasetSpec:
        """The spec in a YAML file.

        Raises:
            ConfigError: the file is missing or breaks a rule.
        """
        return build(cls, load_yaml(path), path.stem)
