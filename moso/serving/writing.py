"""What a task gives, as the bytes of an answer.

    json         {"shape": [...], "frames": [...]}, of parts {"parts": {...}}, of encode {"tokens": [...]}
    npy          the array; of parts one array with an axis for them in front
    png          a strip: a row a clip, its frames side by side
    gif, mp4     moving; several clips are a grid (`each`: a zip with a file a clip)
    frames       a zip of every frame as a PNG, <clip>/<frame>.png or <clip>/<sample or part>/<frame>.png
    safetensors  of encode: a token file

Legend: N clips, G panels of a clip (samples, parts), T frames, H W pixels.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from moso.cli.outputs import FPS
from moso.serving.errors import NotAcceptableError
from moso.tasks.checks import InputError
from moso.tasks.model import Model
from moso.tasks.request import clip_tokens
from moso.tasks.token_file import write_tokens
from moso.video import write
from moso.video.pictures import write_png

MEDIA = {
    "json": "application/json",
    "npy": "application/x-npy",
    "png": "image/png",
    "gif": "image/gif",
    "mp4": "video/mp4",
    "frames": "application/zip",
    "safetensors": "application/x-safetensors",
}
TOKENS = ("json", "npy", "safetensors")
FRAMES = ("json", "npy", "png", "gif", "mp4", "frames")
MOVING = ("png", "gif", "mp4")


@dataclass(frozen=True)
class Answer:
    """Bytes, what they are, a name to save them by, and what the headers say."""

    content: bytes
    media: str
    name: str
    headers: Mapping[str, str] = field(default_factory=dict)


def chosen_format(task: str, named: str | None, accept: str, otherwise: str) -> str:
    """The form of the answer.

    Args:
        task: that is answered.
        named: the parameter `format`.
        accept: the header; its order decides, not its weights.
        otherwise: where neither says it.

    Raises:
        InputError: `named` is no form that the answer can have.
        NotAcceptableError: `accept` names none.
    """
    known = TOKENS if task == "encode" else FRAMES
    if named is not None:
        if named not in known:
            raise InputError(f"format: expected one of {', '.join(known)}, got {named[:60]!r}")
        return named
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",") if part.strip()]
    for media in wanted:
        if media == "*/*":
            return otherwise
        for name in known:
            if media in (MEDIA[name], f"{MEDIA[name].partition('/')[0]}/*"):
                return name
    if wanted:
        raise NotAcceptableError(f"Accept: task {task!r} can answer {', '.join(MEDIA[name] for name in known)}")
    return otherwise


def written(result: Any, model: Model, task: str, form: str, *, fps: float | None, each: bool) -> Answer:
    """The answer.

    Args:
        result: of `moso.tasks.request.answer`.
        model: that made it.
        task: its name.
        form: from `chosen_format`.
        fps: frames a second of a moving picture.
        each: a file a clip.

    Raises:
        ConfigError: frames a second that the format cannot have.
        MissingPackage: PyAV or Pillow is not installed.
    """
    headers = {"X-Moso-Shape": ",".join(map(str, np.shape(_array(result))))}
    if isinstance(result, dict):
        headers["X-Moso-Parts"] = ",".join(result)
    name = f"{task}.{form}"
    if each and form not in MOVING:
        raise InputError(f"each: format {form!r} is no picture; it goes with {', '.join(MOVING)}")
    if form == "json":
        return Answer(json.dumps(_plain(result)).encode(), MEDIA[form], name, headers)
    if form == "npy":
        buffer = io.BytesIO()
        np.save(buffer, _array(result), allow_pickle=False)
        return Answer(buffer.getvalue(), MEDIA[form], name, headers)
    with tempfile.TemporaryDirectory(prefix="moso-serve-") as temporary:
        folder = Path(temporary)
        if form == "safetensors":
            tokens = clip_tokens(result, model.vqvae.grids)
            path = folder / name
            write_tokens(path, tokens, model.vqvae.grids, model.codebook_digest, model.codebook_size, fps)
            return Answer(path.read_bytes(), MEDIA[form], name, headers)
        panels, labels = _panels(result)
        if form == "frames":
            return Answer(_every_frame(folder, panels, labels), MEDIA[form], f"{task}.zip", headers)
        notes = _films(folder, panels, form, FPS if fps is None else fps, each)
        headers |= {"X-Moso-Notes": "; ".join(notes)} if notes else {}
        files = sorted(folder.iterdir())
        if each:
            return Answer(_zipped(folder, files), MEDIA["frames"], f"{task}.zip", headers)
        return Answer(files[0].read_bytes(), MEDIA[form], name, headers)


def _array(result: Any) -> np.ndarray:
    return np.stack(list(result.values())) if isinstance(result, dict) else np.asarray(result)


def _plain(result: Any) -> dict[str, Any]:
    if isinstance(result, dict):
        return {"shape": list(_array(result).shape), "parts": {part: video.tolist() for part, video in result.items()}}
    name = "frames" if result.dtype == np.uint8 else "tokens"
    return {"shape": list(result.shape), name: result.tolist()}


def _panels(result: Any) -> tuple[UInt8[np.ndarray, "N G T H W 3"], list[str]]:
    """A clip's samples or parts side by side, and what they are called; one without a name where it has one alone."""
    if isinstance(result, dict):
        return np.stack(list(result.values()), axis=1), list(result)
    if result.ndim == 5:
        return result[:, None], [""]
    return result, [f"{number:04d}" for number in range(result.shape[1])]


def _films(folder: Path, panels: np.ndarray, form: str, fps: float, each: bool) -> list[str]:
    columns = panels.shape[1] if panels.shape[1] > 1 else None
    if each:
        notes = [write(folder / f"{n:04d}.{form}", clip, fps, columns=columns) for n, clip in enumerate(panels)]
        return list(notes[0])
    return list(write(folder / f"all.{form}", panels.reshape(-1, *panels.shape[2:]), fps, columns=columns))


def _every_frame(folder: Path, panels: np.ndarray, labels: list[str]) -> bytes:
    paths = []
    for number, clip in enumerate(panels):
        for label, video in zip(labels, clip, strict=True):
            place = folder / f"{number:04d}" / label
            place.mkdir(parents=True)
            for t, frame in enumerate(video):
                paths.append(place / f"{t:06d}.png")
                write_png(paths[-1], frame)
    return _zipped(folder, paths)


def _zipped(folder: Path, paths: list[Path]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # stored: PNG and MP4 are compressed already
        for path in paths:
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()
