"""The split of a recording: an official list or a pure function of its name, never redrawn when data is added.

Contract 3. moso.datasets.spec.SplitSpec names the rules.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from moso.datasets.episode import SPLITS, Episode, Split
from moso.datasets.lists import path_of, read_list
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec, SplitSpec
from moso.errors import DataError


@dataclass(frozen=True)
class Splits:
    """The rule of a data set, with its lists read.

    Attributes:
        spec: the rule.
        listed: recording, as `_listed_name` writes it -> its split, of rule "lists".
        lists: file -> sha256 of the published lists that were read: by rule "lists", or by the reader (ranges of KTH).
        substitute: a list could not be had, and a seeded hash stands in for it.
    """

    spec: SplitSpec
    listed: Mapping[str, Split] = field(default_factory=dict)
    lists: Mapping[str, str] = field(default_factory=dict)
    substitute: bool = False

    @classmethod
    def of(cls, spec: DatasetSpec) -> Splits:
        """The splits of a data set; its lists are looked for where `moso data fetch-lists` puts them.

        Raises:
            DataError: a list is there but is not what the spec says.
        """
        named = getattr(reader(spec.format), "lists_used", None)
        lists = {item.file: item.sha256 for item in (named(spec) if named else ()) if path_of(item)}
        if spec.splits.rule != "lists":
            return cls(spec.splits, lists=lists)
        listed: dict[str, Split] = {}
        for item in spec.lists:
            if item.split is None:
                continue
            lines = read_list(item)
            if lines is None:
                return cls(spec.splits, substitute=True)
            lists[item.file] = item.sha256
            for line in lines:
                if words := line.split():
                    listed[_listed_name(words[0])] = item.split
        return cls(spec.splits, listed, lists)

    @property
    def label(self) -> dict[str, Any]:
        """Plain data that says how the splits were made; part of every figure's protocol."""
        spec = self.spec
        shares = {"seed": spec.seed, "validation_share": spec.validation_share, "test_share": spec.test_share}
        ranges = {name: getattr(spec, name) for name in SPLITS if getattr(spec, name) is not None}
        drawn = spec.rule == "hash" or self.substitute or spec.validation_share > 0
        lists = {"lists": dict(self.lists)} if self.lists or spec.rule == "lists" else {}
        return {
            "rule": spec.rule,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in ranges.items()},
            **lists,
            **({"substitute": self.substitute} if spec.rule == "lists" else {}),
            **(shares if drawn else {}),
        }

    def split_of(self, episode: Episode) -> Split:
        """The split that an episode belongs to.

        Raises:
            DataError: it has none under the rule.
        """
        recording, spec = episode.recording, self.spec
        if spec.rule == "id_ranges":
            return _by_range(recording, spec)
        if spec.rule == "patterns":
            return _by_pattern(recording, spec)
        if spec.rule == "hash" or self.substitute:
            return _by_hash(recording, spec, spec.test_share)
        if spec.rule == "lists":
            listed = self.listed.get(_listed_name(recording))
            return listed or _by_hash(recording, spec, 0.0)
        if episode.split is None:
            raise DataError(f"{episode.episode_id!r}: the data names no split for it, which the rule 'recorded' needs")
        if episode.split == "train":
            return _by_hash(recording, spec, 0.0)
        return episode.split  # type: ignore[return-value]  # Episode looked at it


def _listed_name(text: str) -> str:
    """Lists name files with and without folder and suffix, and in another case than the files themselves."""
    name = PurePosixPath(text.replace("\\", "/")).name
    stem, dot, suffix = name.rpartition(".")
    return (stem if dot and suffix.isalnum() and len(suffix) <= 5 else name).lower()


def _by_range(recording: str, spec: SplitSpec) -> Split:
    match = re.search(r"(\d+)$", recording)
    if match is None:
        raise DataError(f"{recording!r} does not end in a number, which the split rule 'id_ranges' needs")
    number = int(match[1])
    for name in SPLITS:
        first, end = spec.range(name)
        if first <= number < end:
            return name
    ranges = ", ".join("{} [{}, {})".format(name, *spec.range(name)) for name in SPLITS)
    raise DataError(f"{recording!r} lies in no split: {ranges}")


def _by_pattern(recording: str, spec: SplitSpec) -> Split:
    asked: tuple[Split, ...] = ("test", "validation", "train")
    for name in asked:
        pattern = getattr(spec, name)
        if pattern is not None and re.search(pattern, recording):
            return name
    raise DataError(f"{recording!r} lies in no split: none of the patterns is found in it")


def _by_hash(recording: str, spec: SplitSpec, test_share: float) -> Split:
    digest = hashlib.sha256(f"{spec.seed}:{recording}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test_share:
        return "test"
    return "validation" if place < test_share + spec.validation_share else "train"
