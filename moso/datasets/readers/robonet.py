"""RoboNet: HDF5, a file a trajectory, filmed by one or more cameras.

<root>/…/<site>_<robot>_traj<N>.hdf5 with

    env                     attributes n_cams, cam_encoding ("mp4" or "jpg")
    env/cam<c>_video/frames one uint8 array, the bytes of an mp4 file; attributes shape (H, W, 3), T, image_format
    env/cam<c>_video/frame<t>   or: one uint8 array a frame, the bytes of a JPEG; attributes shape, image_format
    env/state               (state_T, state dimension)
    policy/actions          (action_T, action dimension); action_T is state_T - 1 as a rule

as the release's own loader reads them (github.com/SudeepDasari/RoboNet, robonet/datasets/util/hdf5_loader.py). Its
table meta_data.pkl is a pickle, made of the same attributes and the files' sha256: it is not read. HDF5 and mp4 as they
are written here hold no checksums, so that flipped bits which a codec takes for another picture are not seen.

- Usable length T = min(state_T, img_T, action_T + 1), img_T being the number of frames.
- image_format says the order of the channels in the array that was encoded. FFmpeg takes an array as RGB, so that an
  mp4 with "BGR" is swapped. OpenCV, which wrote the JPEGs (encoding_2_jpg.py), takes it as BGR, so that a JPEG with
  "BGR" is a usual one and one with "RGB" is swapped. Early versions of the loader read JPEGs the other way round:
  option `jpeg_order`.
- Robots differ in the dimension of states and actions: both are padded with zeros to 5, the largest there is. Where the
  last frame has no action its row is zeros too. No gripper action is made up from the states (the loader can do so).
- An episode a camera: `google_traj15809/cam0`; the trajectory is the recording of them all: no split parts them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moso.config import check_choices
from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.readers.files import walk
from moso.datasets.readers.options import options_of
from moso.errors import ConfigError, DataError
from moso.video.packages import MissingPackage
from moso.video.pictures import decode
from moso.video.streaming import stream as stream_video

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec

CHUNK = 8
MOST_BYTES = 1 << 28
"""Of one array: a damaged header may claim any size. No source; an mp4 of 31 frames has about 100 kB."""
# All that h5py raises for damaged bytes, and for a group where an array should be.
UNREADABLE = (AttributeError, KeyError, MemoryError, OSError, OverflowError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Options:
    """What a spec's `options` may say.

    Attributes:
        cameras: numbers of the cameras, or "all" that a trajectory has. With numbers, a trajectory without such a
            camera is a bad record. Camera 0 is what tensorflow_datasets' robonet, and with it FitVid, reads.
        dimensions: that states and actions are padded to; more is a bad record.
        jpeg_order: how image_format of a JPEG is meant: "opencv", of the array that OpenCV wrote (the release's last
            loader and its encoding_2_jpg.py); "decoded", of what a JPEG decoder gives (its earlier loader).
    """

    cameras: tuple[int, ...] | Literal["all"] = (0,)
    dimensions: int = 5
    jpeg_order: Literal["opencv", "decoded"] = "opencv"

    def __post_init__(self) -> None:
        check_choices(self)
        if isinstance(self.cameras, str) and self.cameras != "all":
            raise ConfigError("cameras", self.cameras, "must be numbers, or 'all'", "did you mean 'all'?")
        named = self.cameras if self.cameras != "all" else (0,)
        if not named or len(set(named)) < len(named) or min(named) < 0:
            raise ConfigError("cameras", self.cameras, "must be different numbers from 0", 'or "all"')
        if self.dimensions < 1:
            raise ConfigError("dimensions", self.dimensions, "must be at least 1", "RoboNet's largest is 5")


def sources(root: Path, spec: DatasetSpec) -> list[Source]:
    """The trajectories' files under `root`, by name; none is opened.

    Raises:
        DataError: there is none.
    """
    found = sorted((below / file).as_posix() for below, files in walk(root) for file in files if file.endswith(".hdf5"))
    if not found:
        raise DataError(f"{root}: no .hdf5 below it; unpack robonet_v3.tar.gz there ({spec.homepage or 'RoboNet'})")
    return [Source(name) for name in found]


def read(
    root: Path, source: Source, spec: DatasetSpec, wanted: Collection[str] | None = None
) -> Iterator[Episode | Rejected]:
    """An episode a camera of one file."""
    options, recording = options_of(spec, Options), PurePosixPath(source.name).stem
    path = root / source.name
    try:
        with _opened(path) as file:
            cameras = _cameras(file, options)
            actions, states = (_signals(file, key, options) for key in ("policy/actions", "env/state"))
    except DataError as error:
        yield Rejected(source.name, 0, str(error))
        return
    for camera in cameras:
        name = f"{recording}/cam{camera}"
        if wanted is not None and name not in wanted:
            continue
        try:
            video = _Video.of(path, camera, options)
            frames = min(len(states), video.frames, len(actions) + 1)
            if frames < 2:  # as the release's loader
                raise DataError(
                    f"{frames} usable frames (of {video.frames}, {len(states)} states, {len(actions)} actions)"
                )
            rows = np.pad(actions[:frames], ((0, frames - len(actions[:frames])), (0, 0)))
            yield Episode(
                name,
                source.name,
                spec.fps,
                functools.partial(video.stream, frames),
                recording=recording,
                actions=rows,
                states=states[:frames],
                frames=frames,
            )
        except DataError as error:
            yield Rejected(source.name, 0, f"camera {camera}: {error}")


@dataclass(frozen=True)
class _Video:
    """One camera's frames in a file."""

    path: Path
    camera: int
    encoding: str
    frames: int
    height: int
    width: int
    swapped: bool

    @classmethod
    def of(cls, path: Path, camera: int, options: Options) -> _Video:
        with _opened(path) as file:
            group = _member(file, f"env/cam{camera}_video", "Group", f"it is missing (env/cam{camera}_video)")
            encoding = _encoding(file)
            first = _member(group, "frames" if encoding == "mp4" else "frame0", "Dataset")
            frames = int(first.attrs["T"]) if encoding == "mp4" else len(group)
            height, width = (int(size) for size in first.attrs["shape"][:2])
            order = _text(first.attrs["image_format"])
            if order not in ("RGB", "BGR"):
                raise DataError(f"image_format {order!r}, expected RGB or BGR")
        taken_as = "BGR" if encoding == "jpg" and options.jpeg_order == "opencv" else "RGB"
        return cls(path, camera, encoding, frames, height, width, order != taken_as)

    def stream(self, frames: int) -> Iterator[np.ndarray]:
        """Chunks of the first `frames` frames; all are decoded, so that a damaged end does not go unseen."""
        count = 0
        for chunk in self._mp4() if self.encoding == "mp4" else self._jpegs():
            if chunk.shape[1:3] != (self.height, self.width):
                raise DataError(
                    f"frames have {chunk.shape[1]} x {chunk.shape[2]} pixels, the file says "
                    f"{self.height} x {self.width}"
                )
            wanted = chunk[: max(0, frames - count)]
            count += len(chunk)
            if len(wanted):
                yield np.ascontiguousarray(wanted[..., ::-1]) if self.swapped else wanted
        if count != self.frames:
            raise DataError(f"camera {self.camera} holds {count} frames, the file says {self.frames}")

    def _mp4(self) -> Iterator[np.ndarray]:
        with _opened(self.path) as file:
            data = _bytes(file, f"env/cam{self.camera}_video/frames")
        return stream_video(data, name=f"camera {self.camera}'s mp4", chunk=CHUNK)

    def _jpegs(self) -> Iterator[np.ndarray]:
        for first in range(0, self.frames, CHUNK):
            steps = range(first, min(first + CHUNK, self.frames))
            with _opened(self.path) as file:
                coded = [_bytes(file, f"env/cam{self.camera}_video/frame{step}") for step in steps]
            pictures = [self._jpeg(data, step) for step, data in zip(steps, coded, strict=True)]
            yield np.stack(pictures)

    def _jpeg(self, data: bytes, step: int) -> np.ndarray:
        try:
            return decode(data, size=(self.height, self.width), formats=("JPEG",), modes=("RGB",))
        except DataError as error:
            raise DataError(f"camera {self.camera}'s frame {step}: {error}") from None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open file; what h5py raises is a DataError of one line."""
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError:
        raise MissingPackage("reading RoboNet needs h5py: pip install 'moso[data]'") from None
    try:
        if path.stat().st_size == 0:
            raise DataError("the file is empty")
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except UNREADABLE as error:
        reason = str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"no whole HDF5 file ({type(error).__name__}: {reason})") from None


def _member(parent: Any, name: str, kind: str, missing: str = "") -> Any:
    """The group or array `name`, which must lie in this file: a link may lead to any other."""
    import h5py

    at = parent
    for part in name.split("/"):
        if not isinstance(at, h5py.Group) or part not in at:
            raise DataError(missing or f"{parent.name.rstrip('/')}/{name} is missing")
        if not isinstance(at.get(part, getlink=True), h5py.HardLink):
            raise DataError(f"{name} is a link, expected data in the file itself")
        at = at[part]
    if not isinstance(at, getattr(h5py, kind)):
        raise DataError(f"{at.name} is no {'array' if kind == 'Dataset' else 'group'}")
    if kind == "Dataset" and (at.nbytes > MOST_BYTES or at.external):
        raise DataError(f"{at.name} claims {at.nbytes:,} bytes, or bytes of another file")
    return at


def _bytes(file: Any, name: str) -> bytes:
    array = _member(file, name, "Dataset")[...]
    if array.dtype != np.uint8:
        raise DataError(f"{name} is {array.dtype}, expected uint8")
    return bytes(array.tobytes())


def _cameras(file: Any, options: Options) -> list[int]:
    env = _member(file, "env", "Group")
    count = int(env.attrs.get("n_cams", 0))
    if not 0 < count <= 64:  # no source: RoboNet's robots have 1 to 5 cameras or so
        raise DataError(f"env says that there are {count} cameras")
    return list(range(count)) if options.cameras == "all" else list(options.cameras)


def _encoding(file: Any) -> str:
    encoding = _text(_member(file, "env", "Group").attrs["cam_encoding"])
    known = {"mp4": "mp4", "jpg": "jpg", "jpeg": "jpg"}
    if encoding not in known:
        raise DataError(f"cam_encoding {encoding!r}, expected mp4 or jpg")
    return known[encoding]


def _signals(file: Any, name: str, options: Options) -> np.ndarray:
    """float32 (rows, dimensions), padded with zeros on the right."""
    values = _member(file, name, "Dataset")[...]
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not 1 <= values.shape[1] <= options.dimensions:
        raise DataError(f"{name} is {values.dtype} {values.shape}, expected numbers (T, at most {options.dimensions})")
    return np.pad(values.astype(np.float32), ((0, 0), (0, options.dimensions - values.shape[1])))


def _text(value: Any) -> str:
    """h5py gives text or bytes, by how it was written."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
