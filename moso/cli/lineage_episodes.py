"""Whether the rows of a manifest are their episodes: each episode read anew, and hashed as it was when ingested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from moso.config import build
from moso.datasets.episode import Episode, Rejected, signals_sha256
from moso.datasets.manifest import Manifest
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec
from moso.errors import DataError


def raw_folder(episodes: Path, project: Path) -> Path:
    """Where the raw files of an output folder of ingest lie: raw/ in it for a simulated data set, else its source.

    Raises:
        DataError: no such folder here, or files that a step unpacks or fetches into its work folder.
    """
    if (episodes / "raw").is_dir():
        return episodes / "raw"
    spec = _spec(episodes)
    record = json.loads((episodes / "provenance.json").read_text())
    place = (record.get("config") or {}).get("raw") or spec.source.url or spec.source.path or f"data/{spec.name}/raw"
    folder = project / Path(place).expanduser()
    if place.startswith("s3://") or spec.source.archives or not folder.is_dir():
        raise DataError(f"{place} is no folder of raw files here (an archive, a bucket, or gone); name one with --raw")
    return folder


def changed_episodes(
    episodes: Path, root: Path, each: Callable[[], None] = lambda: None, manifest: Path | None = None
) -> dict[str, str]:
    """The episodes whose files do not have the hashes of their rows: id -> what is wrong; {} where all are as recorded.

    The hashes are those of ingest: sha256 of the decoded frames' bytes, uint8 RGB in order, before crop and resize, and
    `signals_sha256` of actions and states. Every episode is decoded; memory is bounded by a chunk of frames.

    Args:
        episodes: an output folder of ingest, with spec.json.
        root: the raw files.
        each: called after each episode.
        manifest: the manifest whose rows are looked at; the folder's own by default.

    Raises:
        DataError: the raw folder does not hold such a data set.
        FormatError: no manifest.
    """
    spec = _spec(episodes)
    table = Manifest.read(manifest or episodes / "manifest.parquet").table
    sources = {source.name: source for source in reader(spec.format).sources(root, spec)}
    wrong: dict[str, str] = {}
    for name, rows in table.groupby("source", sort=False):
        wanted = {str(row.episode_id): (str(row.sha256), str(row.signals_sha256)) for row in rows.itertuples()}
        reasons: list[str] = []
        if str(name) not in sources:
            reasons.append(f"{name} is no longer there")
        else:
            for record in reader(spec.format).read(root, sources[str(name)], spec, set(wanted)):
                if isinstance(record, Rejected):
                    reasons.append(record.reason)
                elif expected := wanted.pop(record.episode_id, None):
                    if fault := _fault(record, expected):
                        wrong[record.episode_id] = f"{name}: {fault}"
                    each()
        for episode_id in wanted:
            wrong[episode_id] = "; ".join(reasons) or f"{name} does not hold it any more"
            each()
    return wrong


def _fault(episode: Episode, expected: tuple[str, str]) -> str:
    hashed = hashlib.sha256()
    try:
        for chunk in episode.chunks():
            hashed.update(np.ascontiguousarray(chunk).data)
    except DataError as error:
        return str(error)
    frames, signals = expected
    if hashed.hexdigest() != frames:
        return f"its frames have sha256 {hashed.hexdigest()[:12]}, its row says {frames[:12]}"
    if signals_sha256(episode.actions, episode.states) != signals:
        return "its actions or states are not those of its row"
    return ""


def _spec(episodes: Path) -> DatasetSpec:
    try:
        content = json.loads((episodes / "spec.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{episodes / 'spec.json'}: cannot be read ({error}); rerun the step ingest") from None
    return build(DatasetSpec, content, "spec")
