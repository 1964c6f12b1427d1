"""LeRobot v2.0, v2.1 and v3.0, as robot teams record today; any camera or several, in videos or in the parquet.

Facts: datasets.md, "LeRobot". Each camera of an episode is an Episode of its own, "episode_000012/<key>" by name,
whose recording is "episode_000012": all cameras fall into one split. A Source is a data file (v3: many episodes, v2:
one) with the video files that its episodes lie in. Depth streams are no pictures and are left out; language and other
columns are not read. Files of the data set that are missing, and episodes that its metadata miss, are reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.readers.files import digest_or_none
from moso.datasets.readers.lerobot_episodes import EPISODES_V2, Catalogue, Entry, Stretch, catalogue
from moso.datasets.readers.lerobot_info import INFO, Camera, Info, load_info
from moso.datasets.readers.lerobot_rows import DataFile, Rows, pictures
from moso.datasets.readers.lerobot_video import check_timestamps, frames_at
from moso.datasets.readers.options import options_of
from moso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec

ACTION, STATE = "action", "observation.state"


@dataclass(frozen=True)
class Options:
    """What a spec may say.

    Attributes:
        cameras: "first": the first of info.json that is not depth; "all"; or their keys.
        action_key: the feature that becomes the actions; null: none. A data set without `action` has none either.
        state_key: likewise of the states.
        tolerance_s: how far a frame's time stamp may lie from the one that the data file says, in seconds. 1e-4 as in
            LeRobot itself (LeRobotDataset's tolerance_s); what rounding a stamp to the file's float32 may take away
            comes on top. Below half a frame's time.
        exclude_episodes: indices of episodes to leave out, beside those of info.json's own `exclude_episodes`.
        exclude_where: column -> value (or list of values): episodes that have it are left out. A column of the
            episodes' metadata (one of lists, as `tasks`: where the value is among them), or else one of the data
            files, where all rows of the episode have it.
    """

    cameras: str | tuple[str, ...] = "first"
    action_key: str | None = ACTION
    state_key: str | None = STATE
    tolerance_s: float = 1e-4
    exclude_episodes: tuple[int, ...] = ()
    exclude_where: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.cameras, str) and self.cameras not in ("first", "all"):
            raise ConfigError("cameras", self.cameras, "must be 'first', 'all' or a list of keys", "write [key]")
        if isinstance(self.cameras, tuple) and not 0 < len(self.cameras) == len(set(self.cameras)):
            raise ConfigError("cameras", self.cameras, "must name cameras, each once", "'all' takes every one")
        if not 0 <= self.tolerance_s < 1:
            raise ConfigError("tolerance_s", self.tolerance_s, "must be seconds in [0, 1)", "LeRobot's own is 1e-4")


def sources(root: Path, spec: DatasetSpec) -> list[Source]:
    """A source a data file, in the order of its first episode; one more where the metadata miss episodes.

    Raises:
        DataError: no such data set, or other frames a second than the spec says.
        ConfigError: a camera or a signal that it does not have.
    """
    options, listed = options_of(spec, Options), catalogue(root)
    cameras = _cameras(listed.info, options)
    _check(listed, options, spec)
    found = []
    for data_file, entries in listed.entries.items():
        files = [data_file]
        for entry in entries:
            if _excluded(entry, listed, options):
                continue
            stretches = (entry.videos.get(camera.key) for camera in cameras)
            files += [stretch.file for stretch in stretches if isinstance(stretch, Stretch)]
            files += [entry.meta_file] if entry.meta_file else []
        found.append(Source(data_file, tuple(dict.fromkeys(files))))
    if listed.problems:
        found.append(Source(INFO, listed.meta_files))
    return found


def decisive(root: Path, spec: DatasetSpec) -> dict[str, Any]:
    """What info.json says for all episodes: it changes with each new one, and no data file is to be read for that."""
    info, options = load_info(root), options_of(spec, Options)
    said: dict[str, Any] = {"exclude_episodes": sorted(info.exclude), "fps": info.fps}
    if spec.splits.rule == "recorded":
        said["splits"] = {name: list(ends) for name, ends in sorted(info.splits.items())}
    if options.exclude_where and info.major == 2:  # v3's files of metadata are among the sources' own
        said[EPISODES_V2] = digest_or_none(root / EPISODES_V2)
    return said


def read(
    root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
) -> Iterator[Episode | Rejected]:
    """The episodes of a data file, camera by camera; what is excluded is left out, what is bad is Rejected.

    Actions and states have a row a frame: row t was recorded with frame t, in LeRobot's sense (the action at t is the
    one taken after frame t was seen).
    """
    options, listed = options_of(spec, Options), catalogue(root)
    if source.name == INFO:
        yield from (Rejected(p.file, p.offset, p.reason) for p in listed.problems)
        return
    cameras = _cameras(listed.info, options)
    signals = _signals(listed.info, options)
    entries = []
    for entry in listed.entries.get(source.name, ()):
        ids = [_episode_id(entry, camera) for camera in cameras]
        if not _excluded(entry, listed, options) and (wanted is None or any(one in wanted for one in ids)):
            entries.append(entry)
    if not entries:
        return
    columns = [key for key, _ in signals.values()]
    in_rows = [name for name in options.exclude_where if name not in listed.columns]
    try:
        data = DataFile(root / source.name, [*columns, *in_rows])
    except DataError as error:
        for entry in entries:
            for camera in cameras:
                yield Rejected(source.name, 0, f"{_episode_id(entry, camera)}: {error}")
        return
    for entry in entries:
        try:
            rows = data.rows(entry)
            if any(_has(rows, name, options.exclude_where[name]) for name in in_rows):
                continue
            tolerances = options.tolerance_s + rows.precision
            check_timestamps(rows.timestamps, tolerances, listed.info.fps)
            values = {name: rows.signal(key, dimension) for name, (key, dimension) in signals.items()}
        except DataError as error:
            for camera in cameras:
                yield Rejected(source.name, 0, f"{_episode_id(entry, camera)}: {error}")
            continue
        for camera in cameras:
            if wanted is None or _episode_id(entry, camera) in wanted:
                yield _episode(root, source, listed.info, entry, camera, rows, tolerances, values)


def _episode(
    root: Path,
    source: Source,
    info: Info,
    entry: Entry,
    camera: Camera,
    rows: Rows,
    tolerances: np.ndarray,
    values: dict[str, np.ndarray],
) -> Episode | Rejected:
    episode_id = _episode_id(entry, camera)
    if camera.stored == "image":
        stream = partial(pictures, root / source.name, root, camera, rows.first, entry.length)
    else:
        stretch = entry.videos[camera.key]
        if isinstance(stretch, str):
            return Rejected(source.name, rows.first, f"{episode_id}: camera {camera.key} is missing: {stretch}")
        stream = partial(frames_at, root / stretch.file, camera, stretch, rows.timestamps, tolerances, info.fps)
    try:
        return Episode(
            episode_id,
            source.name,
            info.fps,
            stream,
            recording=_recording(entry),
            split=info.split_of(entry.index),
            actions=values.get("actions"),
            states=values.get("states"),
            frames=entry.length,
            offset=rows.first,
        )
    except DataError as error:
        return Rejected(source.name, rows.first, f"{episode_id}: {error}")


def _recording(entry: Entry) -> str:
    return f"episode_{entry.index:06d}"


def _episode_id(entry: Entry, camera: Camera) -> str:
    return f"{_recording(entry)}/{camera.key}"


def _cameras(info: Info, options: Options) -> list[Camera]:
    """The cameras that are asked for.

    Raises:
        DataError: the data set has none.
        ConfigError: one that it does not have, or a depth stream.
    """
    there = {camera.key: camera for camera in info.cameras if not camera.depth}
    if not there:
        raise DataError(f"{INFO} names no camera (a feature of dtype video or image that is no depth stream)")
    if options.cameras == "first":
        return [next(iter(there.values()))]
    if options.cameras == "all":
        return list(there.values())
    for key in options.cameras:
        if key not in there:
            depth = key in {camera.key for camera in info.cameras}
            rule = "is a depth stream, not pictures" if depth else "is no camera of this data set"
            raise ConfigError("options.cameras", key, rule, f"it has {', '.join(there)}")
    return [there[key] for key in options.cameras]


def _signals(info: Info, options: Options) -> dict[str, tuple[str, int]]:
    """actions, states -> (feature, dimension by info.json), of those that there are.

    Raises:
        ConfigError: one that is asked for by another name than the usual one, and is not there.
    """
    found = {}
    for name, option, key, usual in (
        ("actions", "action_key", options.action_key, ACTION),
        ("states", "state_key", options.state_key, STATE),
    ):
        if key is None:
            continue
        dimension = info.dimension(key)
        if dimension is not None:
            found[name] = (key, dimension)
        elif key != usual:
            raise ConfigError(
                f"options.{option}", key, "is no feature of this data set", f"it has {', '.join(info.features)}"
            )
    return found


def _check(listed: Catalogue, options: Options, spec: DatasetSpec) -> None:
    info = listed.info
    if abs(info.fps - spec.fps) > 1e-6 * info.fps:
        raise DataError(f"{INFO} says {info.fps:g} frames a second, the spec {spec.fps:g}: set its fps to {info.fps:g}")
    if options.tolerance_s >= 0.5 / info.fps:
        raise ConfigError(
            "options.tolerance_s", options.tolerance_s, f"must be below half a frame, {0.5 / info.fps:g} s"
        )
    signals = _signals(info, options)
    for name, signal in (("actions", spec.actions), ("states", spec.states)):
        if signal is not None and name in signals and len(signal.names) != signals[name][1]:
            key, dimension = signals[name]
            raise ConfigError(f"{name}.names", list(signal.names), f"{key} has {dimension} dimensions", "name each")
    for column in options.exclude_where:
        if column not in listed.columns and column not in info.features:
            known = ", ".join(sorted(listed.columns | set(info.features)))
            raise ConfigError("options.exclude_where", column, "is no column of this data set", f"known: {known}")


def _excluded(entry: Entry, listed: Catalogue, options: Options) -> bool:
    if entry.index in listed.info.exclude or entry.index in options.exclude_episodes:
        return True
    for column, unwanted in options.exclude_where.items():
        if column in listed.columns:
            value = entry.columns.get(column)
            if any(one in value if isinstance(value, list) else one == value for one in _several(unwanted)):
                return True
    return False


def _has(rows: Rows, column: str, unwanted: Any) -> bool:
    """Whether every row of the episode has one of the values."""
    if column not in rows.table.column_names:
        raise DataError(f"column {column} is missing from the data file")
    values = rows.table.column(column).to_pylist()
    # A feature of shape (1,) is a number, or a list of one, by the writer
    plain = (value[0] if isinstance(value, list) and len(value) == 1 else value for value in values)
    return all(value in _several(unwanted) for value in plain)


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
