"""`moso data init`: a spec and a preset for recordings of one's own, fitted to what is in them."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moso.cli.data_look import Look, look_into
from moso.cli.data_preset import fitted, preset_text
from moso.cli.data_specs import SPECS
from moso.cli.simulate import parse_settings
from moso.cli.words import counted
from moso.config import build, load_preset
from moso.datasets.readers import reader
from moso.datasets.spec import DatasetSpec, SignalSpec, SplitSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError, DataError

PRESETS = Path("moso") / "presets"
RAW_ROOTS = "moso.raw_roots"
"""Entry-point group through which components/raw.py answers for archives and S3, as ingest will read them."""
SHARES = (0.1, 0.2, 0.3)
SEEDS = 50
GUESSED_FPS = 10.0
"""Where the data does not say it; the spec then says so in a comment."""
PROBE_FPS = 9.87654321
"""What readers are told while looking: an episode that still has it was given no frame rate by the data."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for; see the command's options."""

    name: str
    format: str
    path: str
    cameras: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    endpoint: str | None = None
    licence: str = ""
    like: str = "sim_push/default"


def initialise(wanted: Wanted, *, replace: bool = False) -> Iterator[str]:
    """Look into the data, write both files, and yield what was found and what to run next.

    Args:
        wanted: the request.
        replace: files of that name.

    Raises:
        ConfigError: a name that is taken, no such format, camera or preset, or not called in the project's folder.
        DataError: no such data, or nothing in it that can be read.
    """
    spec_path, preset_path = SPECS / f"{wanted.name}.yaml", PRESETS / wanted.name / "default.yaml"
    for folder in (SPECS, PRESETS):
        if not folder.is_dir():
            raise ConfigError("folder", str(Path.cwd()), f"has no {folder}", "call it in the project's folder")
    for path in (spec_path, preset_path):
        if path.exists() and not replace:
            raise ConfigError("name", wanted.name, f"{path} is there already", "take another name, or --force")
    like = load_preset(wanted.like)
    draft = _draft(wanted)
    root = _root(draft)
    if draft.format == "lerobot":  # its reader compares the spec's rate before it reads anything
        from moso.datasets.readers.lerobot_info import load_info

        draft = dataclasses.replace(draft, fps=load_info(root).fps)
    look = look_into(root, draft)
    spec, says_fps = _spec(draft, look, root)
    counts = _split_counts(look, spec.splits)
    preset = fitted(like, look, counts)

    spec_text = _spec_text(spec, look, says_fps)
    build(DatasetSpec, yaml.safe_load(spec_text), spec.name)  # what is written can be read again
    preset_path.parent.mkdir(parents=True, exist_ok=True)
    _write(spec_path, spec_text)
    _write(preset_path, preset_text(preset, wanted.name, wanted.like))

    yield from _told(look, counts, says_fps, spec)
    model = preset["train_vqvae"]["model"]
    yield f"{spec_path}: splits by hash, {', '.join(f'{k} {v}' for k, v in counts.items())} of the episodes looked at"
    yield (
        f"{preset_path}: the settings of {wanted.like}, clips of {model['frames']} frames at {model['height']} x "
        f"{model['width']}, {preset['extract_tokens']['given_frames']} given"
    )
    yield f"read both through, then: dvc exp run -S dataset={wanted.name}"
    yield f"or, step by step, `dataset: {wanted.name}` in params.yaml and `dvc repro preprocess`, and look at the data:"
    yield f"    moso data report {wanted.name}"


def _draft(wanted: Wanted) -> DatasetSpec:
    """A spec with what the request alone says."""
    options = parse_settings(wanted.options)
    if wanted.cameras:
        options |= _cameras(wanted)
    path = wanted.path
    if path.startswith("s3://"):
        source: dict[str, Any] = {"kind": "s3", "url": path, "endpoint": wanted.endpoint}
    else:
        if wanted.endpoint:
            raise ConfigError("endpoint", wanted.endpoint, "has no meaning for a path on this machine", "leave it out")
        place = Path(path).expanduser()
        if not place.exists():
            raise DataError(f"{place}: neither a folder nor an archive, and no s3:// address")
        source = {"kind": "folder" if place.is_dir() else "archive", "path": path}
    return build(
        DatasetSpec,
        {
            "name": wanted.name,
            "title": f"{wanted.name}, recordings in the format {wanted.format}",
            "format": wanted.format,
            "source": source,
            "licence": wanted.licence,
            "fps": PROBE_FPS,
            "splits": {"rule": "hash", "validation_share": SHARES[0], "test_share": SHARES[0]},
            "options": options,
        },
    )


def _cameras(wanted: Wanted) -> dict[str, Any]:
    """The reader's option for cameras: a list of them, or one."""
    known = {f.name for f in dataclasses.fields(reader(wanted.format).Options)}
    if "cameras" in known:
        one = wanted.cameras[0] if len(wanted.cameras) == 1 and wanted.cameras[0] in ("all", "first") else None
        return {"cameras": one or list(wanted.cameras)}
    for name in ("camera", "view"):
        if name in known and len(wanted.cameras) == 1:
            return {name: wanted.cameras[0]}
    raise ConfigError(
        "camera",
        ", ".join(wanted.cameras),
        f"the reader {wanted.format!r} has {'one camera' if known & {'camera', 'view'} else 'no choice of cameras'}",
        f"its options: {', '.join(sorted(known)) or 'none'}",
    )


def _root(spec: DatasetSpec) -> Path:
    """The folder to look into: as ingest will have it, in the same place, so that nothing is fetched twice."""
    if spec.source.kind == "folder":
        return Path(spec.source.path or "").expanduser()
    entry = next(iter(importlib.metadata.entry_points(group=RAW_ROOTS)), None)
    if entry is None:
        raise ConfigError(
            "path", spec.source.path or spec.source.url, "archives and S3 need the project's steps", "pip install -e ."
        )
    root: Path = entry.load()(spec, None, Path(os.environ.get("MOSO_WORK", ".work")), None).root
    return root


def _spec(draft: DatasetSpec, look: Look, root: Path) -> tuple[DatasetSpec, bool]:
    """The spec, and whether the data itself says its frame rate."""
    fps = look.fps.most_common(1)[0][0]
    says_fps = fps != PROBE_FPS
    actions, states = _signals(draft, look, root)
    spec = dataclasses.replace(
        draft, fps=fps if says_fps else GUESSED_FPS, splits=_splits(look), actions=actions, states=states
    )
    return spec, says_fps


def _signals(spec: DatasetSpec, look: Look, root: Path) -> tuple[SignalSpec | None, SignalSpec | None]:
    """Names from the data where it has them; what they mean no format says, so that is left to the person."""
    named: dict[str, tuple[str, ...]] = {}
    if spec.format == "lerobot":
        from moso.datasets.readers.lerobot_info import load_info

        info, options = load_info(root), build(reader("lerobot").Options, spec.options, "options")
        for kind, key in (("actions", options.action_key), ("states", options.state_key)):
            if key in info.features:
                named[kind] = info.names(key)

    def signal(kind: str, dimension: int) -> SignalSpec | None:
        if not dimension:
            return None
        names = named.get(kind, ())
        if len(names) != dimension:
            names = tuple(f"{kind.removesuffix('s')}_{i}" for i in range(dimension))
        return SignalSpec(names, "unknown", "unknown", ("",) * dimension)

    return signal("actions", look.actions), signal("states", look.states)


def _splits(look: Look) -> SplitSpec:
    """A hash split in which, of the recordings seen, some fall into every split: a tenth each where that can be."""
    if len({e.recording for e in look.episodes}) < 3:
        raise DataError(
            f"{len(look.episodes)} episodes of fewer than 3 recordings: training, validation and test need one each"
        )
    for share in SHARES:
        for seed in range(SEEDS):
            rule = SplitSpec("hash", seed=seed, validation_share=share, test_share=share)
            if len(_split_counts(look, rule)) == 3:
                return rule
    raise DataError("no split of the recordings leaves some for training, validation and test: there are too few")


def _split_counts(look: Look, rule: SplitSpec) -> dict[str, int]:
    splits = Splits(rule)
    found = Counter(str(splits.split_of(episode)) for episode in look.episodes)
    return {name: found[name] for name in ("train", "validation", "test") if found[name]}


def _spec_text(spec: DatasetSpec, look: Look, says_fps: bool) -> str:
    sizes = ", ".join(f"{h} x {w}" for h, w in look.sizes)
    source = {key: value for key, value in dataclasses.asdict(spec.source).items() if key in ("kind", "path", "url")}
    if spec.source.endpoint:
        source["endpoint"] = spec.source.endpoint
    parts: list[tuple[str, dict[str, Any]]] = [
        (
            "# Written by `moso data init`; yours to change. Schema: moso/datasets/spec.py",
            {
                "name": spec.name,
                "title": spec.title,
                "format": spec.format,
                "source": {k: v for k, v in source.items() if v},
                "licence": spec.licence,
            },
        ),
        ("" if says_fps else "# not said by the data: please check", {"fps": spec.fps}),
        (
            "# by a seeded hash of each recording, so that a split never changes when data is added",
            {
                "splits": {
                    "rule": "hash",
                    "seed": spec.splits.seed,
                    "validation_share": spec.splits.validation_share,
                    "test_share": spec.splits.test_share,
                }
            },
        ),
        (f"# raw frames are {sizes} (height x width); center: the largest centred square", {"crop": spec.crop}),
        ("", {"options": spec.options} if spec.options else {}),
    ]
    for name, signal in (("actions", spec.actions), ("states", spec.states)):
        if signal:
            note = "# please fill in what is known. meaning: absolute | delta; space: joint | end_effector; units"
            values = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(signal).items()}
            parts.append((note, {name: values}))
    return "".join(
        f"{comment}\n{text}" if comment else text
        for comment, values in parts
        if values and (text := yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110))
    )


def _told(look: Look, counts: dict[str, int], says_fps: bool, spec: DatasetSpec) -> Iterator[str]:
    more = "" if look.complete else " (of more: the first ones)"
    low, high = min(look.lengths), max(look.lengths)
    lengths = f"{low} to {high} frames" if high > low else f"{counted(low, 'frame')}"
    sizes = ", ".join(f"{h} x {w}" for h, w in look.sizes)
    yield (
        f"{counted(len(look.episodes), 'episode')}{more} in {counted(look.sources, 'source')}, {lengths} each, "
        f"{sizes}, {spec.fps:g} fps{'' if says_fps else ' (a guess: the data does not say it)'}, "
        f"actions {look.actions or 'none'}, states {look.states or 'none'}"
    )
    if len(look.fps) > 1:
        rates = ", ".join(f"{fps:g} ({n})" for fps, n in look.fps.most_common(4))
        yield f"recordings have several frame rates: {rates}"
    for record in look.rejected[:3]:
        yield f"bad: {record.file} at {record.offset}: {record.reason}"
    if len(look.rejected) > 3:
        yield f"{len(look.rejected)} bad records in all; ingest sets them aside"
    if counts.get("test", 0) < 20:
        yield f"only {counted(counts.get('test', 0), 'episode')} to test on: figures of so few say little"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
