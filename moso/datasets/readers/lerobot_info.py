"""A LeRobot data set's meta/info.json: version, path templates, cameras, signals, splits.

Facts: datasets.md, "LeRobot", and huggingface/lerobot (src/lerobot/datasets/utils.py, dataset_metadata.py). Every path
comes from the templates; nothing is guessed from the names that most sets have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moso.datasets.inside import inside
from moso.errors import DataError

INFO = "meta/info.json"
VERSIONS = (2, 3)
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_FIELD = re.compile(r"\{(\w+)(?::(0?\d{1,2}d))?\}")


@dataclass(frozen=True)
class Camera:
    """A feature of pictures.

    Attributes:
        key: its name, "observation.images.front".
        stored: "video": files beside the parquet; "image": encoded pictures in the parquet.
        height: of a frame as info.json declares it; None where it does not.
        width: likewise.
        depth: a stream of distances, no pictures.
    """

    key: str
    stored: str
    height: int | None
    width: int | None
    depth: bool = False


@dataclass(frozen=True)
class Info:
    """meta/info.json.

    Attributes:
        major: of codebase_version, 2 or 3; it decides how episodes are found.
        version: codebase_version as it stands there.
        fps: frames a second.
        data_path: template of data files.
        video_path: template of video files; None where there are none.
        chunks_size: episodes a chunk (v2).
        total_episodes: 0 where it does not say.
        features: as they stand there.
        splits: name -> range of episode indices [first, end).
        exclude: episodes that the set itself excludes.
    """

    major: int
    version: str
    fps: float
    data_path: str
    video_path: str | None
    chunks_size: int
    total_episodes: int = 0
    features: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    splits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    exclude: frozenset[int] = frozenset()

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """Every feature of pictures, depth among them, in the file's order."""
        return tuple(
            _camera(key, feature)
            for key, feature in self.features.items()
            if feature.get("dtype") in ("video", "image")
        )

    def data_file(self, **values: int) -> str:
        """The path of a data file, relative to the root.

        Raises:
            DataError: the template names a value that this version does not have.
        """
        return fill(self.data_path, values)

    def video_file(self, camera: str, **values: int) -> str:
        """The path of a camera's video file, relative to the root.

        Raises:
            DataError: there is no template, or it names a value that this version does not have.
        """
        if self.video_path is None:
            raise DataError(f"{INFO} has no video_path, though {camera} is a video")
        return fill(self.video_path, {"video_key": camera, **values})

    def dimension(self, key: str) -> int | None:
        """Numbers a frame of a feature, by its declared shape; None where there is no such feature."""
        if key not in self.features:
            return None
        count = 1
        for size in _shape(self.features[key]):
            count *= size
        return count

    def names(self, key: str) -> tuple[str, ...]:
        """A name for each number of a feature: info.json's, or "<key>_0", "<key>_1", … where it names others."""
        named = self.features[key].get("names")
        if isinstance(named, dict) and len(named) == 1:
            (named,) = named.values()  # {"motors": [...]}, as v2 wrote them
        count = self.dimension(key) or 0
        if isinstance(named, list) and len(named) == count and all(isinstance(name, str) for name in named):
            return tuple(named)
        return tuple(f"{key.rpartition('.')[2]}_{i}" for i in range(count))

    def split_of(self, episode: int) -> str | None:
        """The split in which `splits` puts an episode; None where it puts it in none."""
        for name, (first, end) in self.splits.items():
            if first <= episode < end:
                return SPLIT_NAMES.get(name)
        return None


def load_info(root: Path) -> Info:
    """The info.json of the data set below `root`.

    Raises:
        DataError: there is none, or it is not one of a version that is read here; what is wrong is named.
    """
    path = root / INFO
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{root}: no {INFO} in it, so no LeRobot data set; name the folder that holds meta/") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from None
    try:
        info = _info(data)
        _check_features(info)
        return info
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: {reason}") from None


def fill(template: str, values: Mapping[str, int | str]) -> str:
    """A path template with its fields replaced: "{chunk_index:03d}" of 4 is "004".

    No str.format: a template is data, and "{x:999999999d}" or "{x.__class__}" are not paths.

    Raises:
        DataError: a field that there is no value for, or a path that leaves the root or is none.
    """

    def value(match: re.Match[str]) -> str:
        name, form = match[1], match[2] or ""
        if name not in values:
            raise DataError(f"{INFO}: the path template {template!r} asks for {name}; known: {', '.join(values)}")
        return format(values[name], form)

    path = _FIELD.sub(value, template)
    if "{" in path or "}" in path:
        raise DataError(f"{INFO}: the path template {template!r} cannot be understood")
    try:
        return inside(path).as_posix()
    except DataError as error:
        raise DataError(f"{INFO}: the path template {template!r} cannot be followed: {error}") from None


def _info(data: Any) -> Info:
    version = data["codebase_version"]
    match = re.fullmatch(r"v?(\d+)\.(\d+).*", str(version))
    if match is None or int(match[1]) not in VERSIONS:
        raise ValueError(
            f"codebase_version {version!r} is not read here (v2.0, v2.1, v3.x are); convert it with lerobot"
        )
    fps = float(data["fps"])
    if not 0 < fps < 1e6:
        raise ValueError(f"fps {fps!r} is no rate")
    features = data["features"]
    if not all(isinstance(feature, dict) for feature in features.values()):
        raise ValueError("features must be mappings")
    video_path = data.get("video_path")
    return Info(
        major=int(match[1]),
        version=str(version),
        fps=fps,
        data_path=_text(data["data_path"]),
        video_path=None if video_path is None else _text(video_path),
        chunks_size=max(1, int(data.get("chunks_size") or 1000)),
        total_episodes=int(data.get("total_episodes") or 0),
        features=features,
        splits={name: _range(value) for name, value in (data.get("splits") or {}).items()},
        exclude=frozenset(int(episode) for episode in data.get("exclude_episodes") or ()),
    )


def _check_features(info: Info) -> None:
    """Whatever a feature's description may raise later, it raises here."""
    list(info.cameras)
    for key in info.features:
        info.dimension(key)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no path template")
    return value


def _range(value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", str(value))
    if match is None:
        raise ValueError(f'the split {value!r} is no range as "0:100" is')
    return int(match[1]), int(match[2])


def _shape(feature: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in feature.get("shape") or (1,))


def _camera(key: str, feature: Mapping[str, Any]) -> Camera:
    depth = False
    for place in ("info", "video_info"):  # newer and older sets
        facts = feature.get(place) or {}
        depth = depth or bool(facts.get("is_depth_map") or facts.get("video.is_depth_map"))
    shape, names = _shape(feature), feature.get("names")
    height: int | None = None
    width: int | None = None
    if len(shape) == 3:
        # Height first or channels first: as the names say, or as the number of channels gives it away.
        first = str(names[0]).startswith("channel") if isinstance(names, list) and names else shape[2] not in (1, 3, 4)
        height, width = shape[1:] if first else shape[:2]
    return Camera(key, str(feature["dtype"]), height, width, depth)
