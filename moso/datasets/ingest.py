"""Raw files -> manifest and quarantine: the part of ingest that is the same for every format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from moso.datasets.episode import Episode, Rejected, frames_sha256
from moso.datasets.manifest import Manifest, Row
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec
from moso.datasets.splits import split_of
from moso.errors import DataError


def row_of(episode: Episode, spec: DatasetSpec) -> Row:
    """The manifest's row of an episode.

    Raises:
        DataError: the id has no split.
    """
    count, height, width, _ = episode.frames.shape
    return Row(
        episode_id=episode.episode_id,
        split=split_of(episode.episode_id, spec.splits),
        source=episode.source,
        sha256=frames_sha256(episode.frames),
        frames=count,
        height=height,
        width=width,
        fps=episode.fps,
        actions=0 if episode.actions is None else episode.actions.shape[1],
    )


def ingest(
    root: Path,
    sources: Sequence[str],
    spec: DatasetSpec,
    *,
    base: Manifest | None = None,
    each: Callable[[str], None] = lambda source: None,
) -> tuple[Manifest, list[Rejected]]:
    """The manifest of the raw files `sources`, appended to `base`, and the records that are bad.

    Args:
        root: the raw data's root.
        sources: raw files relative to it; the manifest's rows keep this order.
        spec: the data set.
        base: an earlier manifest that the new rows are appended to.
        each: called after every file; for progress, and to stop by raising.

    Raises:
        DataError: an id twice, or the same frames in two splits.
    """
    rows: list[Row] = []
    rejected: list[Rejected] = []
    read = reader(spec.format).read
    for source in sources:
        for record in read(root, source, spec):
            if isinstance(record, Rejected):
                rejected.append(record)
                continue
            try:
                rows.append(row_of(record, spec))
            except DataError as error:
                rejected.append(Rejected(record.source, 0, str(error)))
        each(source)
    return (base or Manifest.empty()).append(rows), rejected
