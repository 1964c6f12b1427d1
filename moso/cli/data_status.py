"""What changed among a data set's raw files since the last ingest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from moso.cli.data_specs import DATA, raw_path
from moso.cli.words import counted
from moso.config import load_yaml
from moso.datasets.ingest import fingerprint, state_folder
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec
from moso.errors import DataError

SHOWN = 10
TAKE_UP = "dvc repro --force --single-item ingest && dvc repro"
State = tuple[int, int]
"""Bytes and time of change in ns of a file; -1: not known, or not there."""
REPLACED = -2
"""In place of the time: the bucket holds another object than the one that was fetched."""
PARAMS = Path("params.yaml")


def status_of(spec: DatasetSpec) -> Iterator[str]:
    """Lines that tell what is new, changed and gone, and the command that takes it up.

    Raises:
        DataError: the data set was never ingested, or its raw files are not where spec and `ingest.raw` say.
    """
    params = load_yaml(PARAMS) if PARAMS.is_file() else None
    settings = (params or {}).get("ingest") or {}
    place = settings.get("raw") if params and params.get("dataset") == spec.name else None
    if spec.source.kind == "simulate":
        yield f"{spec.name} is simulated: ingest writes what is missing by itself"
        return
    then = earlier(spec)
    if then is None:
        yield f"{spec.name} was not ingested yet; `dvc exp run -S dataset={spec.name}` reads it"
        return
    now = present(spec, then, place)
    new = sorted(set(now) - set(then))
    gone = sorted(name for name in then if then[name][0] >= 0 and now.get(name, (-1, -1))[0] < 0)
    changed = sorted(n for n in now if n in then and n not in gone and _differs(then[n], now[n]))
    for word, names in (("new", new), ("changed", changed), ("gone", gone)):
        if names:
            more = f" … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield f"{word:8} {counted(len(names), 'file')}: {', '.join(names[:SHOWN])}{more}"
    if not (new or changed or gone):
        yield f"{spec.name}: {counted(len(now), 'raw file')}, all as at the last ingest"
        return
    if gone:
        yield "a manifest only grows: restore what is gone, or start anew with `ingest: {extend: false}` in params.yaml"
    if params is not None and params.get("dataset") != spec.name:
        yield f"params.yaml runs another data set: set `dataset: {spec.name}` there first"
    yield f"to take it up: {TAKE_UP}"


def earlier(spec: DatasetSpec) -> dict[str, State] | None:
    """The files as the last ingest saw them: from its work folder, which knows times, else from its output."""
    output = DATA / spec.name / "episodes"
    for folder in (state_folder(_work() / "ingest", spec), output):
        path = folder / "sources.parquet"
        if path.is_file():
            rows = pq.read_table(path, columns=["file", "bytes", "mtime_ns"]).to_pylist()
            return {row["file"]: (row["bytes"], row["mtime_ns"]) for row in rows}
    return None


def present(spec: DatasetSpec, then: Mapping[str, State], override: str | None = None) -> dict[str, State]:
    """The files as they are now; of an S3 prefix by its listing, of anything else through the reader.

    Args:
        spec: the data set.
        then: the files as the last ingest saw them.
        override: another place than the spec's (`ingest.raw`).

    Raises:
        DataError: they cannot be found.
    """
    url = override or spec.source.url or ""
    if url.startswith("s3://") and not spec.source.archives:
        return _listed(url, spec.source.endpoint, then)
    path = Path(override).expanduser() if override else raw_path(spec)
    if url.startswith("s3://") or path.is_file() or spec.source.archives:
        raise DataError(
            f"{spec.name}: raw files inside archives are looked at by ingest alone, which reads only what changed: "
            f"{TAKE_UP}"
        )
    if not path.is_dir():
        where = f"{PARAMS} (ingest.raw)" if override else f"data/specs/{spec.name}.yaml"
        raise DataError(f"{path}: no such folder; {where} says that the raw files are there")
    files = fingerprint(path, reader(spec.format).sources(path, spec))
    return {str(f): (int(b), int(t)) for f, b, t in files[["file", "bytes", "mtime_ns"]].itertuples(index=False)}


def _listed(url: str, endpoint: str | None, then: Mapping[str, State]) -> dict[str, State]:
    """Objects below the prefix of the kinds (suffixes) that the last ingest read.

    Their times are those of the mirror's files, where one lies here and has this very object (ETag).
    """
    from moso.adapters.s3 import Bucket, S3Address
    from moso.adapters.s3_journal import entries_of
    from moso.adapters.s3_mirror import journal_of, mirror_folder

    address = S3Address.parse(url)
    mirrored = entries_of(journal_of(mirror_folder(_work().absolute(), url, endpoint)))
    kinds = {Path(name).suffix for name in then}
    start = len(address.prefix) + 1 if address.prefix else 0
    found: dict[str, State] = {}
    for item in Bucket(address, endpoint=endpoint).objects():
        name = item.key[start:]
        if name not in then and Path(name).suffix not in kinds:
            continue
        entry = mirrored.get(name)
        time = -1 if entry is None else entry["mtime_ns"] if entry.get("etag") == item.etag else REPLACED
        found[name] = (item.bytes, int(str(time)))
    return found


def _work() -> Path:
    return Path(os.environ.get("MOSO_WORK", ".work"))


def _differs(then: State, now: State) -> bool:
    known = -1 not in (then[1], now[1])
    return then[0] != now[0] or now[1] == REPLACED or (known and then[1] != now[1])
