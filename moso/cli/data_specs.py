"""The specs in data/specs, and what lies around them in the project's folder."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moso.datasets import lists
from moso.datasets.spec import DatasetSpec, ListSpec
from moso.errors import ConfigError, DataError

DATA = Path("data")
SPECS = DATA / "specs"


def all_specs() -> dict[str, DatasetSpec]:
    """Name -> spec of every data set.

    Raises:
        ConfigError: not called in the project's folder, or a spec breaks a rule.
    """
    if not SPECS.is_dir():
        raise ConfigError("folder", str(Path.cwd()), f"has no {SPECS}", "call it in the project's folder")
    return {path.stem: _load(path) for path in sorted(SPECS.glob("*.yaml"))}


def spec_of(name: str) -> DatasetSpec:
    """The spec of a data set.

    Raises:
        ConfigError: no such data set; the nearest known one is named.
    """
    path = SPECS / f"{name}.yaml"
    if not path.is_file():
        known = [p.stem for p in sorted(SPECS.glob("*.yaml"))]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError("dataset", name, f"{path} does not exist", f"{hint}known: {', '.join(known) or 'none here'}")
    return _load(path)


def _load(path: Path) -> DatasetSpec:
    try:
        return DatasetSpec.load(path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.field}", error.value, error.rule, error.remedy) from None


@dataclass(frozen=True)
class RawPlace:
    """Where raw files are looked for: in words, and "here", "missing", "simulated" or "in S3" (which is not asked)."""

    text: str
    state: str


def place_of(spec: DatasetSpec) -> RawPlace:
    """Where the raw files of a data set are looked for, unless `ingest.raw` names another place."""
    source = spec.source
    if source.kind == "simulate":
        return RawPlace("written by ingest itself", "simulated")
    if source.kind == "s3":
        return RawPlace(f"{source.url}{f' at {source.endpoint}' if source.endpoint else ''}", "in S3")
    path = raw_path(spec)
    there = path.is_file() or (path.is_dir() and any(path.iterdir()))
    return RawPlace(str(path), "here" if there else "missing")


def raw_path(spec: DatasetSpec) -> Path:
    """The folder or archive of a source of kind "folder" or "archive"."""
    return Path(spec.source.path or DATA / spec.name / "raw").expanduser()


def frames_folder(asked: Path) -> Path:
    """A frames folder: `asked` itself, or that of the data set of this name."""
    if not asked.exists() and len(asked.parts) == 1 and (DATA / asked / "frames").is_dir():
        return DATA / asked / "frames"
    if not asked.is_dir():
        raise DataError(f"{asked}: neither a folder nor a data set with frames in {DATA}/*/frames")
    return asked


def described(spec: DatasetSpec) -> Iterator[str]:
    """Lines that tell all about a data set."""
    place, splits = place_of(spec), spec.splits
    yield f"{spec.name}: {spec.title}"
    yield f"format      {spec.format}{f', options {spec.options}' if spec.options else ''}"
    yield f"raw files   {place.text} ({place.state})"
    if spec.homepage:
        yield f"from        {spec.homepage}"
    yield f"licence     {spec.licence or 'not stated'}"
    yield f"frames      {spec.fps:g} fps{f', {spec.episode_frames} an episode' if spec.episode_frames else ''}"
    yield f"pictures    crop {spec.crop}, resize {spec.resize}"
    details = {name: getattr(splits, name) for name in ("train", "validation", "test") if getattr(splits, name)}
    shares = {name: getattr(splits, name) for name in ("validation_share", "test_share") if getattr(splits, name)}
    told = ", ".join(f"{key} {value}" for key, value in {**details, **shares}.items())
    yield f"splits      {splits.rule}{f': {told}' if told else ''}"
    for item in spec.lists:
        yield f"list        {item.file}: {_list_state(item)} ({item.lines:,} lines, {item.url})"
    for name, signal in (("actions", spec.actions), ("states", spec.states)):
        if signal:
            named = ", ".join(f"{n} ({u})" if u else n for n, u in zip(signal.names, signal.units, strict=True))
            yield f"{name:11} {signal.meaning}, {signal.space}: {named}"
    if (paper := spec.paper) is not None:
        tests = f", {paper.test_videos} test videos" if paper.test_videos else ""
        pixels = " and ".join(map(str, paper.pixels))
        yield (
            f"paper       {paper.given_frames} -> {paper.predicted_frames} frames, clips of {paper.clip_frames}, "
            f"{pixels} pixels{tests}{f' ({paper.citation})' if paper.citation else ''}"
        )
    counts = DATA / spec.name / "episodes" / "counts.json"
    if counts.is_file():
        found = json.loads(counts.read_text())
        told = ", ".join(f"{split} {n:,}" for split, n in found["episodes"].items())
        yield f"ingested    {told}; {found['quarantined']} bad records; manifest version {found['version']}"
    else:
        yield f"ingested    not yet: dvc exp run -S dataset={spec.name}"


def _list_state(item: ListSpec) -> str:
    try:
        return "here" if lists.path_of(item) else "missing: moso data fetch-lists"
    except DataError:
        return "DAMAGED: moso data fetch-lists"
