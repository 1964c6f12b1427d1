"""What a data set is: data/specs/<name>.yaml as a frozen dataclass.

The spec describes the raw data (format, source, signals, splits, licence). What is made of it (resolution of the cache,
clip length) is chosen by the preset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moso.config import build, check_choices, load_yaml
from moso.datasets.readers import FORMATS
from moso.errors import ConfigError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class SourceSpec:
    """Where the raw files come from.

    Attributes:
        kind: "simulate": moso.sim writes them; "folder": they lie in `path`. (Archives and S3 come with a later issue.)
        path: root of the raw files, for kind "folder".
    """

    kind: Literal["simulate", "folder"]
    path: str | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        if self.kind == "folder" and not self.path:
            raise ConfigError(
                "path", self.path, "is required for a source of kind 'folder'", "name the raw files' folder"
            )
        if self.kind == "simulate" and self.path:
            raise ConfigError("path", self.path, "has no meaning for a source of kind 'simulate'", "remove it")


@dataclass(frozen=True)
class SplitSpec:
    """How an episode's split follows from its id (see moso.datasets.splits).

    Attributes:
        rule: "id_ranges": by the number that the id ends in. Official lists and seeded hashes will be further rules,
            with fields of their own.
        train: first number, and the number after the last.
        validation: likewise.
        test: likewise.
    """

    rule: Literal["id_ranges"]
    train: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]

    def __post_init__(self) -> None:
        check_choices(self)
        taken: list[tuple[int, int, str]] = []
        for name in SPLITS:
            first, end = getattr(self, name)
            if not 0 <= first < end:
                raise ConfigError(name, [first, end], "must be a range [first, end) with 0 <= first < end")
            for other_first, other_end, other in taken:
                if first < other_end and other_first < end:
                    raise ConfigError(name, [first, end], f"overlaps the range of {other}", "separate the ranges")
            taken.append((first, end, name))


@dataclass(frozen=True)
class SignalSpec:
    """What actions or states mean.

    Attributes:
        names: one name a dimension.
        meaning: "absolute" or "delta" (change from this frame to the next).
        space: "end_effector" or "joint".
        units: one unit a dimension.
    """

    names: tuple[str, ...]
    meaning: Literal["absolute", "delta"]
    space: Literal["end_effector", "joint"]
    units: tuple[str, ...]

    def __post_init__(self) -> None:
        check_choices(self)
        if len(self.units) != len(self.names):
            raise ConfigError("units", list(self.units), f"must have one unit for each of {len(self.names)} names")


@dataclass(frozen=True)
class DatasetSpec:
    """One data set.

    Attributes:
        name: also the file's name and the folder under data/.
        title: one line for reports.
        format: the reader, a module of moso.datasets.readers.
        source: where raw files come from.
        licence: of the data.
        fps: frames a second of the recordings.
        splits: how an episode's split follows from its id.
        episode_frames: every episode's length, where the format fixes it; others are quarantined.
        crop: "none", or "center": the largest centred square.
        actions: what the actions mean; None where there are none.
        states: what the states mean; None where there are none.
    """

    name: str
    format: str
    source: SourceSpec
    fps: float
    splits: SplitSpec
    title: str = ""
    licence: str = ""
    episode_frames: int | None = None
    crop: Literal["none", "center"] = "none"
    actions: SignalSpec | None = field(default=None)
    states: SignalSpec | None = field(default=None)

    def __post_init__(self) -> None:
        check_choices(self)
        if self.format not in FORMATS:
            raise ConfigError("format", self.format, "no such reader", f"known: {', '.join(FORMATS)}")
        if not self.fps > 0:
            raise ConfigError("fps", self.fps, "must be positive")
        if self.episode_frames is not None and self.episode_frames < 1:
            raise ConfigError(
                "episode_frames", self.episode_frames, "must be at least 1", "leave it out if lengths vary"
            )

    @classmethod
    def load(cls, path: Path) -> DatasetSpec:
        """The spec in a YAML file.

        Raises:
            ConfigError: the file is missing or breaks a rule.
        """
        return build(cls, load_yaml(path), path.stem)
