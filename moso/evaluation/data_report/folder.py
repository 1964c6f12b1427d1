"""Everything that the step preprocess left in a frames folder, opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from moso.datasets.episode import SPLITS
from moso.errors import FormatError
from moso.frames.cache import FrameCache

FILES = ("data.json", "statistics.json", "manifest.parquet", "quarantine.parquet")


@dataclass(frozen=True)
class FramesFolder:
    """A frames folder.

    Attributes:
        cache: the frames.
        data: data.json: what the data set is (data_set, title, licence, splits, actions, states, crop, resize …).
        statistics: statistics.json: split -> figures over every frame (moso.frames.statistics).
        manifest: a row an episode (moso.datasets.manifest).
        quarantine: a row a bad record: file, offset, reason.
    """

    cache: FrameCache
    data: dict[str, Any]
    statistics: dict[str, Any]
    manifest: pd.DataFrame
    quarantine: pd.DataFrame

    @classmethod
    def open(cls, folder: Path) -> FramesFolder:
        """Open `folder`.

        Raises:
            FormatError: no cache, or one that the step preprocess did not finish.
            DataError: a file of the cache is missing or cut short.
        """
        cache = FrameCache.open(folder)
        for name in FILES:
            if not (folder / name).is_file():
                raise FormatError(f"{folder}: no {name}; the step 'preprocess' writes it: `dvc repro preprocess`")
        return cls(
            cache,
            json.loads((folder / "data.json").read_text()),
            json.loads((folder / "statistics.json").read_text()),
            pd.read_parquet(folder / "manifest.parquet"),
            pd.read_parquet(folder / "quarantine.parquet"),
        )

    @property
    def splits(self) -> list[str]:
        """The splits that there are, in the order train, validation, test."""
        found = set(self.manifest["split"])
        return [split for split in SPLITS if split in found] + sorted(found - set(SPLITS))
