"""BAIR robot pushing (softmotion30_44k): TFRecords, a tf.train.Example a trajectory.

<root>/…/{train,test}/traj_<first>_to_<last>.tfrecords; a file holds last - first + 1 trajectories, and each of them
that is not there is a bad record: a file that is cut between two looks whole by its bytes.

A trajectory has 30 frames of 64 x 64 pixels; of step i a record holds `i/image_main/encoded` and
`i/image_aux1/encoded` (raw RGB bytes, height first), `i/action` (4 numbers) and `i/endeffector_pos` (3 numbers). Keys
and shapes as the loaders of tensorflow_datasets (bair_robot_pushing_small 2.0.0) and SAVP (softmotion_dataset.py) read
them.

An episode's id is folder, file and number of the record, `train/traj_256_to_511/00017`, wherever in the raw data's root
the folder lies, and it is its own recording: splits go by folder and file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.readers.files import walk
from moso.datasets.readers.options import options_of
from moso.datasets.readers.tfrecord import Damage, features, records
from moso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec

FILE = re.compile(r"traj_(\d+)_to_(\d+)\.tfrecords")


@dataclass(frozen=True)
class Options:
    """What a spec's `options` may say.

    Attributes:
        view: the camera: "image_aux1" is the one that papers use, "image_main" the other; some variants of the data
            write "image_view0".
        height: of a frame in pixels: raw bytes do not say it.
        width: likewise.
    """

    view: str = "image_aux1"
    height: int = 64
    width: int = 64

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.view):
            raise ConfigError("view", self.view, "must be letters, digits and '_'", "image_aux1 is what papers use")
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1")


def sources(root: Path, spec: DatasetSpec) -> list[Source]:
    """The files under `root`, by folder and first trajectory; none is opened.

    Raises:
        DataError: there is none.
    """
    found = [below / file for below, files in walk(root) for file in files if FILE.fullmatch(file)]
    if not found:
        raise DataError(
            f"{root}: no traj_<first>_to_<last>.tfrecords below it; unpack bair_robot_pushing_dataset_v0.tar there "
            f"({spec.homepage or 'softmotion30_44k'})"
        )
    return [Source(path.as_posix()) for path in sorted(found, key=lambda path: (path.parent, _range(path.name)))]


def read(
    root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
) -> Iterator[Episode | Rejected]:
    """The trajectories of one file, or why one cannot be had; those not wanted are passed over by their length."""
    options = options_of(spec, Options)
    place = PurePosixPath(source.name)
    prefix = f"{place.parent.name}/{place.stem}" if place.parent.name else place.stem
    first, last = _range(place.name)
    left = None if wanted is None else {name for name in wanted if name.startswith(f"{prefix}/")}
    asked = None if left is None else frozenset(left)
    try:
        for record in records(
            root / source.name, last - first + 1, lambda index: asked is None or _id(prefix, index) in asked
        ):
            name = _id(prefix, record.index)
            if isinstance(record, Damage):
                yield Rejected(source.name, record.offset, record.reason)
            else:
                try:
                    yield _episode(name, source, record.offset, record.data, options, spec)
                except DataError as error:
                    yield Rejected(source.name, record.offset, f"record {record.index}: {error}")
            if left is not None:
                left.discard(name)
                if not left:
                    return  # what lies behind was looked at when the manifest was made
    except OSError as error:
        yield Rejected(source.name, 0, f"the file cannot be read ({error.strerror or error})")


def _episode(name: str, source: Source, offset: int, data: bytes, options: Options, spec: DatasetSpec) -> Episode:
    held = features(data)
    steps = _steps(held, options.view)
    frames = _frames(held, steps, options)
    actions, states = (_numbers(held, steps, key) for key in ("action", "endeffector_pos"))
    return Episode.of(name, source.name, frames, spec.fps, actions, states, offset=offset)


def _steps(held: Mapping[str, Any], view: str) -> int:
    """Number of steps, which are numbered from 0 without a gap.

    Raises:
        DataError: there is none, or one has no frame.
    """
    keys = [match for match in map(re.compile(r"(\d+)/(\w+)(/encoded)?").fullmatch, held) if match]
    shown = {int(match[1]) for match in keys if match[2] == view and match[3]}
    if not shown:
        views = ", ".join(sorted({match[2] for match in keys if match[3]}))
        raise DataError(f"no frames of the view {view!r}; it holds {views or 'no view'}")
    steps = 1 + max(int(match[1]) for match in keys)
    missing = next((i for i in range(steps) if i not in shown), None)
    if missing is not None:
        raise DataError(f"the key '{missing}/{view}/encoded' is missing")
    return steps


def _frames(held: Mapping[str, Any], steps: int, options: Options) -> np.ndarray:
    shape = options.height, options.width, 3
    frames = []
    for i in range(steps):
        key = f"{i}/{options.view}/encoded"
        values = held[key].bytes_list.value
        if len(values) != 1:
            raise DataError(f"'{key}' holds {len(values)} byte strings, expected one")
        if len(values[0]) != np.prod(shape):
            raise DataError(
                f"'{key}' has {len(values[0]):,} bytes, {options.height} x {options.width} RGB pixels have "
                f"{np.prod(shape):,}"
            )
        frames.append(np.frombuffer(values[0], dtype=np.uint8).reshape(shape))
    return np.stack(frames)


def _numbers(held: Mapping[str, Any], steps: int, key: str) -> np.ndarray:
    """float32 (T, dimension) of `i/<key>`."""
    rows = []
    for i in range(steps):
        name = f"{i}/{key}"
        if name not in held:
            raise DataError(f"the key '{name}' is missing")
        rows.append(np.array(held[name].float_list.value, dtype=np.float32))
        if not len(rows[i]) or len(rows[i]) != len(rows[0]):
            raise DataError(f"'{name}' holds {len(rows[i])} numbers, '0/{key}' holds {len(rows[0])}")
    return np.stack(rows)


def _id(prefix: str, index: int) -> str:
    return f"{prefix}/{index:05d}"


def _range(name: str) -> tuple[int, int]:
    match = FILE.fullmatch(name)
    assert match is not None  # `sources` takes no other
    return int(match[1]), int(match[2])
