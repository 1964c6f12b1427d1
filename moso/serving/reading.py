"""What a request brings: frames of clips, or tokens, from JSON, arrays, images and videos.

Files are read by moso.video, as at the command line, from a private folder that lives as long as the reading; a message
names an upload by the name that it came with. Nothing is unpickled.

Legend: N clips, T frames, H W pixels, L tokens of a clip.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from moso.cli.inputs import fit
from moso.errors import DataError, MosoError
from moso.serving.errors import MediaTypeError, RequestError
from moso.serving.limits import Limits
from moso.tasks.checks import InputError
from moso.tasks.model import Model
from moso.tasks.request import flat_tokens
from moso.tasks.token_file import read_tokens
from moso.tokens.clip_tokens import COMPONENTS
from moso.video import probe, read, stream
from moso.video.packages import need
from moso.video.pictures import IMAGES, UNREADABLE

MEDIA = {
    "application/x-npy": ".npy",
    "application/x-safetensors": ".safetensors",
    "image/gif": ".gif",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-msvideo": ".avi",
    "video/x-matroska": ".mkv",
}
VIDEOS = tuple(suffix for media, suffix in MEDIA.items() if media.startswith("video/"))
OCTETS = ("application/octet-stream", "")


@dataclass(frozen=True)
class Upload:
    """One file of a request.

    Attributes:
        field: of the form that it came in; "" where it is the whole body.
        name: that it came with.
        suffix: what it is read as, a key of `MEDIA`.
        content: its bytes.
    """

    field: str
    name: str
    suffix: str
    content: bytes

    @property
    def is_image(self) -> bool:
        """Whether it is one frame."""
        return self.suffix in IMAGES


@dataclass(frozen=True)
class Body:
    """What a request holds beside its parameters: files, or the "frames" of JSON."""

    files: Sequence[Upload] = ()
    array: Any = None


class Brought(NamedTuple):
    """Frames as a task takes them, parameters that files gave, and frames a second where a file says them."""

    frames: np.ndarray
    parameters: Mapping[str, Any]
    fps: float | None


class _Budget:
    """Bytes of decoded frames that a request may still have."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.spent = limits, 0

    def frames(self, height: int, width: int) -> int:
        """How many more frames of this size may be decoded."""
        return max(0, self.limits.decoded_bytes - self.spent) // max(1, 3 * height * width)

    def spend(self, count: int) -> None:
        """Nothing when so many bytes more may be held.

        Raises:
            TooLargeError: they may not.
        """
        self.spent += count
        self.limits.check("bytes of all frames of the request, decoded", self.spent, self.limits.decoded_bytes)


def upload(content: bytes, *, field: str = "", name: str = "", media: str = "") -> Upload:
    """An upload, told by the suffix of its name, its media type, or the first bytes of an array.

    Raises:
        MediaTypeError: it is of no kind that is read here.
    """
    suffix, media = Path(name).suffix.lower(), media.partition(";")[0].strip().lower()
    kind = suffix if suffix in (*MEDIA.values(), *IMAGES) else MEDIA.get(media, "")
    if not kind and media in OCTETS and content[:6] == b"\x93NUMPY":
        kind = ".npy"
    if not kind:
        said = f"{name or 'the body'} of type {media or 'unknown'}"
        raise MediaTypeError(f"{said}: not read here; send {', '.join(MEDIA)}, application/json or multipart/form-data")
    plain = _plain(name) or "body"
    return Upload(field, plain if plain.lower().endswith(kind) else f"{plain}{kind}", kind, content)


def parse_json(content: bytes) -> dict[str, Any]:
    """The object of a JSON body.

    Raises:
        RequestError: no JSON, or no object.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON ({str(error)[:100]})") from None
    if not isinstance(found, dict):
        raise RequestError('the body is no JSON object; write {"frames": [...], "parameters": {...}}')
    if unknown := sorted(found.keys() - {"frames", "parameters"}):
        raise RequestError(f"{unknown[0][:60]}: not known in a JSON body, which has frames and parameters")
    if not isinstance(found.get("parameters") or {}, dict):
        raise RequestError("parameters: expected a JSON object")
    return found


def brought(body: Body, model: Model, task: str, wanted: Mapping[str, Any], limits: Limits) -> Brought:
    """What the task is to work on.

    Args:
        body: of the request.
        model: that will do it; its sizes are what is expected.
        task: its name.
        wanted: all parameters of the request.
        limits: of pixels and bytes.

    Raises:
        MosoError: files that cannot be read, or that do not fit.
    """
    if task in ("generate", "decode"):
        empty = np.zeros((_count(wanted, "count", 1, limits.clips), 0, model.height, model.width, 3), np.uint8)
        if task == "generate":
            _require_none(body, task)
            return Brought(empty, {}, None)
        return Brought(empty[:1], _tokens(body, model, wanted), None)
    if body.array is not None:
        return Brought(_array(body.array), {}, None)
    if not body.files:
        raise InputError("frames: none came; send an array, images or a video")
    return _frames(body.files, model, task, wanted, limits)


def _frames(files: Sequence[Upload], model: Model, task: str, wanted: Mapping[str, Any], limits: Limits) -> Brought:
    start, budget = wanted.get("start"), _Budget(limits)
    if start is not None and not 0 <= start <= limits.first_frame:
        raise InputError(f"start: expected a whole number from 0 to {limits.first_frame}, got {start}")
    own = {"predict": model.given_frames, "rollout": model.given_frames, "preprocess": None}
    count = own.get(task, model.clip_frames)
    found: list[np.ndarray] = []
    numbers: dict[str, list[int]] = {}
    rate: float | None = None
    for name, group in _sources(files, _count(wanted, "clips", 1, limits.clips)):
        clips, fps = _read(group, start, count, budget)
        if task != "preprocess":
            if not wanted.get("resize"):
                _check_size(name, clips, model)
            clips = fit(name, clips, model.height, model.width, resize=True)
        if task == "recombine" and group[0].field in COMPONENTS:
            first = sum(map(len, found))
            numbers.setdefault(group[0].field, []).extend(range(first, first + len(clips)))
        found.append(clips)
        rate = rate or fps
    if len({clips.shape[1:] for clips in found}) > 1:
        sizes = " and ".join(sorted({" x ".join(map(str, clips.shape[1:4])) for clips in found}))
        raise InputError(f"frames: clips of several lengths or sizes ({sizes}); those of one request are equal")
    return Brought(np.concatenate(found), numbers, rate)


def _sources(files: Sequence[Upload], clips: int) -> list[tuple[str, Sequence[Upload]]]:
    """Name and files of each source, in order: a file, or the images of a clip together."""
    images = [file for file in files if file.is_image]
    if len(images) % clips or (clips > 1 and not images):
        raise InputError(f"clips: {len(images)} images cannot be dealt into {clips} clips of equal length")
    # Images of a field belong together: those of scene, object and motion are three clips.
    fields = list(dict.fromkeys(file.field for file in images if file.field in COMPONENTS))
    if fields:
        groups = [[file for file in images if file.field == name] for name in fields]
        groups += [rest] if (rest := [file for file in images if file.field not in fields]) else []
    else:
        length = len(images) // clips
        groups = [images[i * length : (i + 1) * length] for i in range(clips)] if images else []
    whole: list[tuple[str, Sequence[Upload]]] = [(file.name, [file]) for file in files if not file.is_image]
    return whole + [(f"{group[0].name} and on", group) for group in groups]


def _read(
    group: Sequence[Upload], start: int | None, count: int | None, budget: _Budget
) -> tuple[UInt8[np.ndarray, "N T H W 3"], float | None]:
    """The clips of a source; frames that are not needed are neither held nor, beyond what comes first, decoded."""
    first, begin = group[0], start or 0
    if first.suffix == ".safetensors":
        raise MediaTypeError(f"{first.name}: tokens, this task takes frames")
    with tempfile.TemporaryDirectory(prefix="moso-serve-") as temporary:
        place = Path(temporary)
        for number, file in enumerate(group):
            (place / (f"{number:06d}{file.suffix}" if file.is_image else file.name)).write_bytes(file.content)
        with _as_uploaded(place):
            if first.suffix == ".npy":
                if start is None:
                    return read(place / first.name)  # what the model takes to the frame, or it refuses
                frames, fps = read(place / first.name, begin, count)
            elif first.is_image or first.suffix == ".gif":
                frames, fps = _pictures(place, group, begin, count, budget)
            else:
                frames, fps = _video(place / first.name, begin, count, budget)
    if frames.shape[1] < (count or 1):
        from_start = f" from frame {begin} on" if begin else ""
        raise DataError(f"{first.name}: has {frames.shape[1]} frames{from_start}, {count or 1} are needed")
    return frames, fps


def _pictures(
    place: Path, group: Sequence[Upload], begin: int, count: int | None, budget: _Budget
) -> tuple[UInt8[np.ndarray, "N T H W 3"], float | None]:
    """Images of a clip, or a GIF; their headers are looked at before one is decoded."""
    image = need("PIL.Image", "reading images")
    allowed = budget.limits.frames
    for path in sorted(place.iterdir()):
        try:
            with image.open(path) as opened:
                height, width = opened.height, opened.width
        except (*UNREADABLE, image.DecompressionBombError):
            raise DataError(f"{path}: cannot be read as an image; it is damaged or none") from None
        budget.limits.check(f"{path}: pixels of a frame", height * width, budget.limits.frame_pixels)
        allowed = min(allowed, budget.frames(height, width))
    asked = (count or allowed) if group[0].suffix == ".gif" else len(group)
    budget.spend(3 * height * width * max(asked, 1))
    frames, fps = read(place if group[0].is_image else place / group[0].name, begin, asked)
    return frames[:, :count], fps


def _video(
    path: Path, begin: int, count: int | None, budget: _Budget
) -> tuple[UInt8[np.ndarray, "N T H W 3"], float | None]:
    """Frames of a video file, counted as they are decoded: its header may claim anything."""
    facts = probe(path)
    budget.limits.check(f"{path}: pixels of a frame", facts.height * facts.width, budget.limits.frame_pixels)
    chunks = []
    for chunk in stream(path, first=begin, count=count):
        budget.spend(chunk.nbytes)
        chunks.append(chunk)
    none = np.empty((0, facts.height, facts.width, 3), np.uint8)
    return np.concatenate(chunks or [none])[None], facts.fps


def _check_size(name: str, clips: np.ndarray, model: Model) -> None:
    if clips.shape[2:4] != (model.height, model.width):
        raise InputError(
            f"{name}: frames of {clips.shape[2]} x {clips.shape[3]} pixels (height x width), this model's are "
            f"{model.height} x {model.width}; resize=true crops the centre and scales it"
        )


def _array(values: Any) -> np.ndarray:
    """The frames of a JSON body; the facade checks the shape."""
    try:
        array = np.array(values)
    except (ValueError, OverflowError):
        array = np.empty(0, object)
    if array.dtype.kind not in "iu":
        kind = "lists of different lengths, or no numbers" if array.dtype.kind in "OUS" else str(array.dtype)
        raise InputError(f"frames: expected nested lists of whole numbers from 0 to 255 (N, T, H, W, 3), got {kind}")
    if array.size and (array.min() < 0 or array.max() > 255):
        raise InputError(f"frames: expected whole numbers from 0 to 255, got {array.min()} to {array.max()}")
    return array.astype(np.uint8)


def _tokens(body: Body, model: Model, wanted: Mapping[str, Any]) -> dict[str, Any]:
    if body.array is not None:
        raise InputError("frames: task 'decode' takes tokens")
    if not body.files:
        return {}  # those among the parameters, or the task says that there are none
    if len(body.files) > 1 or wanted.get("tokens"):
        raise InputError("tokens: given several times, one file or list is wanted")
    file = body.files[0]
    if file.suffix not in (".npy", ".safetensors"):
        raise MediaTypeError(f"{file.name}: task 'decode' takes tokens, as .npy (N, L) or a token file (.safetensors)")
    with tempfile.TemporaryDirectory(prefix="moso-serve-") as temporary:
        path = Path(temporary) / file.name
        path.write_bytes(file.content)
        with _as_uploaded(path.parent):
            if file.suffix == ".safetensors":
                return {"tokens": flat_tokens(model.tokens_of(read_tokens(path))).ravel()}
            return {"tokens": _token_array(path)}


def _token_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError):
        raise DataError(f"{path}: cannot be read as an array (not this format, or damaged)") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.ndim not in (1, 2):
        raise DataError(f"{path}: expected whole numbers (N, L), a row a clip")
    return np.array(array, dtype=np.int64).ravel()


def _count(wanted: Mapping[str, Any], name: str, otherwise: int, most: int) -> int:
    value = int(wanted.get(name, otherwise))
    if value < 1:
        raise InputError(f"{name}: expected a whole number from 1, got {value}")
    Limits.check(name, value, most)
    return value


def _require_none(body: Body, task: str) -> None:
    if body.files or body.array is not None:
        raise InputError(f"frames: task {task!r} takes none; say how many videos with count")


def _plain(name: str) -> str:
    """A name that is safe as a file's, and in a message."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name.replace("\\", "/")).name).lstrip(".")[-80:]


@contextlib.contextmanager
def _as_uploaded(place: Path) -> Iterator[None]:
    """Errors name files as they came, without the private folder that they lie in."""
    try:
        yield
    except MosoError as error:
        error.args = (str(error).replace(f"{place}/", "").replace(str(place), "the images"),)
        raise
