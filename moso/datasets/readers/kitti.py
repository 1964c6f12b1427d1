"""KITTI raw: drives as folders of PNGs, a folder a camera.

<root>/…/<date>/<date>_drive_<NNNN>_sync/image_0<c>/data/<frame>.png, frames numbered without a gap; folders above may
name categories (city, residential, road …), as PredNet's download puts them.

An episode is a drive's camera, `2011_09_26_drive_0005/image_03`; its recording is the drive, `2011_09_26_drive_0005`.
One bad image sets the whole drive's camera aside: its frames would no longer be equally far apart in time.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.readers.files import image_chunks, walk
from moso.datasets.readers.options import options_of
from moso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec

DRIVE = re.compile(r"(\d{4}_\d\d_\d\d_drive_\d{4})_sync")
CAMERAS = ("image_00", "image_01", "image_02", "image_03")


@dataclass(frozen=True)
class Options:
    """What a spec's `options` may say.

    Attributes:
        cameras: "image_02" and "image_03" are the left and the right colour camera, "image_00" and "image_01" the grey
            ones. PredNet, whose split is used, takes image_03 (coxlab/prednet, process_kitti.py).
        leave_out: drives ("2011_09_26_drive_0001", with or without "_sync") and folders above them, such as categories
            ("campus"), that are not read.
    """

    cameras: tuple[str, ...] = ("image_03",)
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.cameras or not set(self.cameras) <= set(CAMERAS) or len(set(self.cameras)) < len(self.cameras):
            raise ConfigError("cameras", list(self.cameras), f"must be some of {', '.join(CAMERAS)}, each once")


def sources(root: Path, spec: DatasetSpec) -> list[Source]:
    """The drives' camera folders, by drive and camera; no image is opened.

    Raises:
        DataError: no drive with such a camera.
    """
    options = options_of(spec, Options)
    leave_out = {name.removesuffix("_sync") for name in options.leave_out}
    found: list[tuple[str, str, Source]] = []
    for below, files in walk(root):
        if below.name != "data" or len(below.parts) < 3 or below.parts[-2] not in options.cameras:
            continue
        match = DRIVE.fullmatch(below.parts[-3])
        if match is None or leave_out & {part.removesuffix("_sync") for part in below.parts}:
            continue
        images = tuple((below / file).as_posix() for file in files if file.lower().endswith(".png"))
        name = below.parent.as_posix()
        found.append((match[1], below.parts[-2], Source(name, images or (f"{name}/data/0000000000.png",))))
    if not found:
        raise DataError(
            f"{root}: no <date>/<date>_drive_<NNNN>_sync/{options.cameras[0]}/data below it; unpack the drives' "
            f"_sync.zip there ({spec.homepage})"
        )
    return [source for _, _, source in sorted(found, key=lambda item: (*item[:2], item[2].name))]


def read(
    root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
) -> Iterator[Episode | Rejected]:
    """The one recording of a camera, or why it cannot be had."""
    place = PurePosixPath(source.name)
    match = DRIVE.fullmatch(place.parent.name)
    assert match is not None  # `sources` takes no other
    episode_id = f"{match[1]}/{place.name}"
    if wanted is not None and episode_id not in wanted:
        return
    try:
        _check_numbers(root, source)
    except DataError as error:
        yield Rejected(source.name, 0, str(error))
        return
    chunks = functools.partial(image_chunks, root, source.files)
    yield Episode(episode_id, source.name, spec.fps, chunks, match[1], frames=len(source.files))


def _check_numbers(root: Path, source: Source) -> None:
    paths = [PurePosixPath(file) for file in source.files]
    if not (root / paths[0]).is_file():
        raise DataError("no image in its folder data")
    for path in paths:
        if not path.stem.isdecimal():
            raise DataError(f"{path}: no number of a frame")
    for before, path in pairwise(paths):
        expected = int(before.stem) + 1
        if int(path.stem) != expected:
            missing = path.with_name(f"{expected:0{len(path.stem)}d}.png")
            raise DataError(f"{missing} is missing: {path.name} follows on {before.name}")
