"""What has come since the last manifest: raw files that nobody has read, and episodes that no training has seen."""

from __future__ import annotations

import pandas as pd

from moso.datasets.manifest import Manifest
from moso.errors import DataError


def new_files(found: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The raw files that a manifest's run did not read, or that have another size now.

    Args:
        found: columns source, file, bytes: what lies there (moso.datasets.ingest.fingerprint).
        known: likewise, of the run that wrote the manifest (sources.parquet).

    Returns:
        The rows of `found` that are new, in its order. Files that were read and were bad are not new.
    """
    there = set(zip(known["source"], known["file"], known["bytes"], strict=True))
    new = [row not in there for row in zip(found["source"], found["file"], found["bytes"], strict=True)]
    return found[new].reset_index(drop=True)


def new_episodes(now: Manifest, last: Manifest) -> pd.DataFrame:
    """The rows of `now` that `last` does not hold, in order; columns as in a manifest.

    Raises:
        DataError: an episode of `last` is gone, or has other frames, signals or another split: no manifest that grew.
    """
    same = ["episode_id", "sha256", "signals_sha256", "split"]
    held = {row[0]: row[1:] for row in now.table[same].itertuples(index=False, name=None)}
    for episode_id, *then in last.table[same].itertuples(index=False, name=None):
        if held.get(episode_id) != tuple(then):
            what = "is gone" if episode_id not in held else "has other content or another split"
            raise DataError(
                f"{episode_id} {what} since the last retraining, and a manifest only grows; restore it, or remove the "
                "retraining's state folder to start from the data as it is"
            )
    known = set(last.table["episode_id"])
    return now.table[~now.table["episode_id"].isin(known)].reset_index(drop=True)
