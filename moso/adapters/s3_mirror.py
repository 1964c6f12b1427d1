"""A prefix of a bucket as a folder: parallel, resumable, checked, and nothing read again that is there.

Beside `<folder>` lies `<folder>.s3/`: objects.jsonl (a line an object that has arrived: its size, ETag, and what it was
checked by) and partial/ (what is on its way, with what it belongs to). An object appears in the folder whole or not at
all. Nothing in the folder is ever deleted: objects that are gone from the bucket are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moso.adapters.s3 import Bucket, S3Address, S3Object
from moso.adapters.s3_errors import S3Error
from moso.adapters.s3_fetch import Fetching
from moso.adapters.s3_journal import Journal
from moso.adapters.s3_keys import folds_case, plan, relative_key
from moso.adapters.s3_patience import PATIENCE, Patience
from moso.datasets.episode import Rejected
from moso.errors import ConfigError, StopRequested
from moso.provenance import digest_json
from moso.step import StopSignal


@dataclass(frozen=True)
class Mirrored:
    """What a mirroring did.

    Attributes:
        folder: the mirror.
        fetched: objects that were read to their end.
        unchanged: objects that were there already.
        bytes: bytes received.
        gone: paths in the folder whose object is not in the bucket any more; they are kept.
        rejected: objects that could not be had (denied, damaged in the bucket, always breaking off) or whose key is no
            path inside the folder, or is another's; `file` is the key relative to the prefix.
    """

    folder: Path
    fetched: int
    unchanged: int
    bytes: int
    gone: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def mirror_folder(work: Path, url: str, endpoint: str | None) -> Path:
    """Where the steps keep the mirror of a prefix below the folder `work` that they share."""
    return work / "raw" / digest_json({"url": url, "endpoint": endpoint})[:16] / "objects"


def journal_of(folder: Path) -> Path:
    """The journal of a mirror: what has arrived (moso.adapters.s3_journal)."""
    return folder.with_name(f"{folder.name}.s3") / "objects.jsonl"


def mirror(
    url: str,
    folder: Path,
    *,
    endpoint: str | None = None,
    workers: int = 8,
    patience: Patience = PATIENCE,
    stop: StopSignal | None = None,
) -> Mirrored:
    """Bring `folder` up to date with what lies under `url`.

    One process at a time may mirror into a folder; the caller sees to that.

    Args:
        url: s3://bucket/prefix, or the address of one object, which then is the folder's only file.
        folder: made where it is missing.
        endpoint: see moso.adapters.s3.Bucket.
        workers: objects read at once.
        patience: with the server.
        stop: ends the work between two blocks; what has come is kept.

    Raises:
        ConfigError: `url` is no S3 address.
        S3Error: something that needs a person, and is not a matter of single objects; what has come is kept, and the
            next call goes on from there. Also where no object at all could be had.
        DataError: nothing lies under `url`.
        StopRequested: by `stop`.
    """
    if workers < 1:
        raise ConfigError("workers", workers, "must be at least 1")
    address = S3Address.parse(url)
    bucket = Bucket(address, endpoint=endpoint, patience=patience, connections=workers)
    folder.mkdir(parents=True, exist_ok=True)
    journal_path = journal_of(folder)
    state = journal_path.parent
    (state / "partial").mkdir(parents=True, exist_ok=True)

    items: list[S3Object] = []
    for item in bucket.objects():
        items.append(item)
        if stop:
            raise StopRequested(f"while listing {address}")
    places, refused = plan(address, items, folds_case(state))
    with Journal(journal_path) as journal:
        todo = [item for item in items if item.key in places and not journal.has(places[item.key], item, folder)]
        fetching = Fetching(bucket, folder, state / "partial", journal, places, patience, stop)
        fetching.run(todo, [item for item in items if item.key in places], workers)
        kept = {str(path) for path in places.values()}
        gone = sorted({*(name for name in journal.entries if name not in kept), *fetching.gone})
    failed = fetching.failed
    if failed and len(failed) == len(places):
        more = f"; so did all of the {len(failed)} objects" if len(failed) > 1 else ""
        raise S3Error(f"{next(iter(failed.values()))}{more}")
    for path in (state / "partial").iterdir():
        if path.stem not in fetching.kept:
            path.unlink()
    reasons = dict(refused)
    for key, error in failed.items():
        stays = "; an earlier version of it stays in the mirror" if (folder / places[key]).is_file() else ""
        reasons[key] = f"{error}{stays}"
    return Mirrored(
        folder,
        fetched=len(todo) - len(fetching.gone) - len(failed),
        unchanged=len(places) - len(todo),
        bytes=fetching.bytes,
        gone=tuple(name for name in gone if (folder / name).exists()),
        rejected=tuple(Rejected(relative_key(address, key), 0, reasons[key]) for key in sorted(reasons)),
    )
