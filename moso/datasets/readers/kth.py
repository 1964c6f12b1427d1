"""KTH actions: grey AVIs of 25 persons, and lists of the frames in which the person is in the picture.

<root>/…/person<PP>_<action>_d<D>_uncomp.avi and MCnet's lists of ranges, or <root>/…/00sequences.txt, of which a line
is "person01_boxing_d1  frames  1-95, 96-185, 186-245, 246-360": both ends inside, the first frame is 1.

An episode is a range, `person01_boxing_d1/0001-0095`; its recording is the file, `person01_boxing_d1`. Grey is repeated
to three channels. person13_handclapping_d3 was never published. Any other file that 00sequences.txt names while others
of its action are there is missing, and set aside as such.

n frames of a chunk, H W pixels.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import UInt8

from moso.config import check_choices
from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.lists import folder, place_of, read_list
from moso.datasets.readers.files import digest_or_none, first_named, fps_of, video_chunks, walk, without
from moso.datasets.readers.one_pass import OnePass
from moso.datasets.readers.options import options_of
from moso.errors import DataError
from moso.provenance import digest_file

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec, ListSpec

NAME = r"person\d\d_(boxing|handclapping|handwaving|jogging|running|walking)_d[1-4]"
FILE = re.compile(rf"({NAME})_uncomp\.avi")
LINE = re.compile(rf"({NAME})\s+(?:frames)?(.*)")
RANGES = re.compile(r"\d+\s*-\s*\d+(\s*,\s*\d+\s*-\s*\d+)*")
NEVER_PUBLISHED = "person13_handclapping_d3"
SEQUENCES = "00sequences.txt"
# ITU-R BT.601, in thousandths: what OpenCV and Pillow make grey with. Equal channels stay as they are.
LUMA = np.array([299, 587, 114], dtype=np.uint32)
Ranges = Mapping[str, tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class Options:
    """What a spec's `options` may say.

    Attributes:
        ranges: "sequences": those of 00sequences.txt, 2,391 in all; "mcnet": those of MCnet's lists, partly trimmed by
            hand, which the spec's `lists` name; "whole": every file from its first frame to its last, empty stretches
            and all.
    """

    ranges: Literal["sequences", "mcnet", "whole"] = "sequences"

    def __post_init__(self) -> None:
        check_choices(self)


def sources(root: Path, spec: DatasetSpec) -> list[Source]:
    """The AVIs by name, and those that 00sequences.txt names and are missing.

    Raises:
        DataError: no AVI of that name, or the ranges' list cannot be had.
    """
    found: dict[str, str] = {}
    for below, files in walk(root):
        found |= {(below / file).as_posix(): match[1] for file in files if (match := FILE.fullmatch(file))}
    if not found:
        raise DataError(
            f"{root}: no person<PP>_<action>_d<D>_uncomp.avi below it; unpack boxing.zip, walking.zip … there "
            f"({spec.homepage})"
        )
    ranges = options_of(spec, Options).ranges
    if ranges == "mcnet":
        _published(spec)
    if ranges != "sequences":
        return [Source(file) for file, _ in _by_name(found)]
    first_named.cache_clear()
    listing = _listing(root)
    if listing is None:
        raise DataError(
            f"{root}: {SEQUENCES} is not below it; it lies beside the archives at {spec.homepage}. Without it, "
            "`options: {ranges: whole}` takes every frame"
        )
    actions = {name.split("_")[1] for name in found.values()}
    folder_of = {name.split("_")[1]: PurePosixPath(file).parent for file, name in found.items()}
    for name in _sequences(listing).keys() - set(found.values()) - {NEVER_PUBLISHED}:
        action = name.split("_")[1]
        if action in actions:
            found[(folder_of[action] / f"{name}_uncomp.avi").as_posix()] = name
    return [Source(file) for file, _ in _by_name(found)]


def lists_used(spec: DatasetSpec) -> tuple[ListSpec, ...]:
    """The published lists that say which episodes there are."""
    return spec.lists if options_of(spec, Options).ranges == "mcnet" else ()


def decisive(root: Path, spec: DatasetSpec) -> dict[str, Any]:
    """The lists of ranges, which say what episodes there are."""
    ranges = options_of(spec, Options).ranges
    if ranges == "whole":
        return {}
    if ranges == "mcnet":
        return {item.file: digest_or_none(place_of(item)) for item in spec.lists}
    first_named.cache_clear()
    listing = _listing(root)
    return {SEQUENCES: listing and digest_file(listing)}


def read(
    root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
) -> Iterator[Episode | Rejected]:
    """The ranges of one AVI, or why it, or one of them, cannot be had.

    Read in order, as ingest does, the file is decoded once for all of its ranges.
    """
    path = root / source.name
    match = FILE.fullmatch(path.name)
    assert match is not None  # `sources` takes no other
    name = match[1]
    ranges: tuple[tuple[int, int], ...] | None = None
    try:
        ranges = _ranges(root, spec, name)
        fps = fps_of(path, spec.fps)
    except DataError as error:
        for first, _ in ranges or ((0, 0),):  # a row a record that is lost, so that the share of bad ones is right
            yield Rejected(source.name, first, without(path, error))
        return
    if ranges is None:
        yield Episode(name, source.name, fps, functools.partial(_chunks, path), name)
        return
    asked = [pair for pair in ranges if wanted is None or _id(name, pair) in wanted]
    one_pass = OnePass(functools.partial(video_chunks, path, chunk=1), max((last for _, last in asked), default=0))
    try:
        for first, last in asked:
            episode_id = _id(name, (first, last))
            if not 1 <= first <= last:
                yield Rejected(source.name, 0, f"{episode_id}: no range of frames, which begin with 1")
                continue
            chunks = functools.partial(_range_chunks, one_pass, first, last)
            yield Episode(episode_id, source.name, fps, chunks, name, offset=first)
    finally:
        one_pass.close()


def grey(frames: UInt8[np.ndarray, "n H W 3"]) -> UInt8[np.ndarray, "n H W 3"]:
    """Three equal channels: the luma. The files' colours are grey but for what their coding leaves."""
    luma = ((frames @ LUMA + 500) // 1000).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=-1)


def _chunks(path: Path) -> Iterator[np.ndarray]:
    for chunk in video_chunks(path):
        yield grey(chunk)


def _range_chunks(one_pass: OnePass, first: int, last: int) -> Iterator[np.ndarray]:
    count = 0
    for chunk in one_pass.chunks(first - 1, last - first + 1):
        count += len(chunk)
        yield grey(chunk)
    if count != last - first + 1:
        end = f"it ends with frame {first - 1 + count}" if count else f"it ends before frame {first}"
        raise DataError(f"frames {first} to {last} are not all in the file: {end}")


def _id(name: str, frames: tuple[int, int]) -> str:
    return f"{name}/{frames[0]:04d}-{frames[1]:04d}"


def _ranges(root: Path, spec: DatasetSpec, name: str) -> tuple[tuple[int, int], ...] | None:
    """The ranges of a file, () where the published lists leave it out; None for the whole file."""
    ranges = options_of(spec, Options).ranges
    if ranges == "whole":
        return None
    if ranges == "mcnet":
        return _published(spec).get(name, ())
    listing = _listing(root)
    if listing is None:
        raise DataError(f"{SEQUENCES} is gone")
    found = _sequences(listing).get(name)
    if found is None:
        raise DataError(f"{SEQUENCES} has no line for {name}")
    if not found:
        raise DataError(f"{SEQUENCES} has no ranges that can be read in the line of {name}")
    return found


def _listing(root: Path) -> Path | None:
    place = first_named(root, (SEQUENCES,)).get(SEQUENCES)
    return root / place if place and (root / place).is_file() else None


def _sequences(path: Path) -> Ranges:
    status = path.stat()
    return _read_sequences(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4)  # 599 sources ask for one file
def _read_sequences(path: Path, size: int, mtime_ns: int) -> Ranges:
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := LINE.match(line.strip()):
            text = match[3].strip().rstrip(",")
            found[match[1]] = _pairs(text) if RANGES.fullmatch(text) else ()
    if not found:
        raise DataError(f"{path}: no line 'person01_boxing_d1  frames  1-95, …' in it")
    return found


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(last)) for first, last in re.findall(r"(\d+)\s*-\s*(\d+)", text))


def _published(spec: DatasetSpec) -> Ranges:
    if not spec.lists:
        raise DataError("options: {ranges: mcnet} needs MCnet's lists: name them in the spec's `lists`")
    return _read_published(spec.lists, str(folder()))


@functools.lru_cache(maxsize=4)
def _read_published(lists: tuple[ListSpec, ...], place: str) -> Ranges:
    """The ranges of the lists, whose lines are "person01_boxing_d1 1 95"."""
    found: dict[str, list[tuple[int, int]]] = {}
    for item in lists:
        lines = read_list(item)
        if lines is None:
            raise DataError(
                f"{item.file} is not in {place}, which options: {{ranges: mcnet}} needs: `moso data fetch-lists` "
                "gets it, and MOSO_LISTS names another folder; `ranges: sequences` needs none"
            )
        for number, line in enumerate(lines, 1):
            words = line.split()
            if len(words) != 3 or not re.fullmatch(NAME, words[0]) or not "".join(words[1:]).isdecimal():
                raise DataError(f"{item.file}, line {number}: {line!r}, expected a name, a first and a last frame")
            pair = int(words[1]), int(words[2])
            if pair not in found.setdefault(words[0], []):
                found[words[0]].append(pair)
    return {name: tuple(pairs) for name, pairs in found.items()}


def _by_name(found: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(found.items(), key=lambda item: (item[1], item[0]))
