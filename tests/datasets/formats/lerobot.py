"""LeRobot data sets as huggingface/lerobot lays them out, by pyarrow, PyAV and Pillow alone: nothing of moso.

Every frame carries its camera, episode and number as black and white blocks that survive any codec (`number_of` reads
them back), under colours that a lossless codec keeps. Video files are cut elsewhere than data files, and every index
differs from every other, so that one taken for another finds another frame or no file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

TOP, WRIST, DEPTH = "observation.images.top", "observation.images.wrist", "observation.images.depth"
SIDE, BLOCK = 32, 8
TICKS = 90_000  # a second, of videos
CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    "lossless": ("libx264rgb", "rgb24", {"qp": "0", "g": "2"}),
    "h264": ("libx264", "yuv444p", {"crf": "0", "g": "2"}),
    "h264_b_frames": ("libx264", "yuv420p", {"crf": "23", "g": "6", "bf": "2"}),
    "av1": ("libsvtav1", "yuv420p", {"crf": "30", "g": "2"}),  # LeRobot's own
    "depth": ("libx265", "gray12le", {"crf": "10", "x265-params": "log-level=none"}),
}
DATA_V3 = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_V3 = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_V3 = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_V2 = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_V2 = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


@dataclass
class Recorded:
    """A data set that was written, and what it must read as."""

    root: Path
    lengths: list[int]
    cameras: list[str]
    fps: float
    frames: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    actions: dict[int, np.ndarray] = field(default_factory=dict)
    states: dict[int, np.ndarray] = field(default_factory=dict)
    data_file: dict[int, str] = field(default_factory=dict)
    video_file: dict[tuple[str, int], str] = field(default_factory=dict)
    from_s: dict[tuple[str, int], float] = field(default_factory=dict)

    def info(self, **changes: Any) -> dict[str, Any]:
        """info.json, after changing it; None removes a key."""
        path = self.root / "meta" / "info.json"
        info: dict[str, Any] = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in info.items() if v is not None}, indent=4))
        return info


def picture(camera: int, episode: int, frame: int, *, side: int = SIDE) -> np.ndarray:
    """uint8 (side, side, 3): 16 blocks, each bright or dark, of the number (camera, episode, frame), and colours."""
    number = camera << 13 | episode << 7 | frame
    bits = np.array([number >> i & 1 for i in range(16)]).reshape(4, 4).astype(bool)
    large = np.kron(bits, np.ones((side // 4, side // 4), bool))
    colours = np.random.default_rng(number).integers(0, 64, (side, side, 3), dtype=np.uint8)
    return np.where(large[..., None], 255 - colours, colours).astype(np.uint8)


def number_of(frame: np.ndarray) -> tuple[int, int, int]:
    """(camera, episode, frame) that a picture shows, whatever a codec did to it."""
    side = len(frame) // 4
    means = frame.astype(float).mean(axis=2).reshape(4, side, 4, side).mean(axis=(1, 3)).ravel()
    number = sum(1 << i for i, mean in enumerate(means) if mean > 127.5)
    return number >> 13, number >> 7 & 63, number & 127


def write_video(
    path: Path, frames: Sequence[np.ndarray], stamps: Sequence[float], fps: float, codec: str = "lossless"
) -> None:
    """An .mp4 whose frames have these time stamps (seconds)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoder, pixels, options = CODECS[codec]
    base = Fraction(1, TICKS)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(encoder, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        stream.codec_context.time_base = base
        for frame, stamp in zip(frames, stamps, strict=True):
            if codec == "depth":
                grey = frame[..., 0].astype(np.uint16) << 8
                coded = av.VideoFrame.from_ndarray(grey, format="gray16le").reformat(format="gray12le")
            else:
                coded = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            coded.pts, coded.time_base = round(stamp * TICKS), base
            container.mux(stream.encode(coded))
        container.mux(stream.encode())


def png(frame: np.ndarray) -> bytes:
    """The frame as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="PNG")
    return buffer.getvalue()


def write_table(path: Path, columns: dict[str, Any], row_group: int | None = None) -> None:
    """A parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group)


def change_table(path: Path, change: Any) -> None:
    """Rewrite a parquet file: `change` gets its rows as a list of dicts and returns them (or changes them in place)."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def write(
    root: Path,
    version: str = "v3.0",
    *,
    lengths: Sequence[int] = (5, 4, 6, 3),
    cameras: Sequence[str] = (TOP, WRIST),
    fps: float = 10,
    codec: str = "lossless",
    images: Sequence[str] = (),
    channels_first: bool = False,
    depth: bool = False,
    language: bool = False,
    data_files: Sequence[Sequence[int]] | None = None,
    video_files: dict[str, Sequence[Sequence[int]]] | None = None,
    data_path: str | None = None,
    video_path: str | None = None,
    chunks_size: int = 1000,
    extra: dict[str, Sequence[Any]] | None = None,
    frames: dict[tuple[str, int], np.ndarray] | None = None,
) -> Recorded:
    """Write a data set of episodes of `lengths` frames.

    Args:
        root: its folder.
        version: "v2.1" or "v3.0".
        lengths: frames of each episode.
        cameras: their keys; those in `images` lie in the parquet as PNG.
        fps: frames a second.
        codec: a key of CODECS.
        images: see `cameras`.
        channels_first: declare shapes (3, H, W).
        depth: add a 12-bit video, listed first.
        language: add columns of annotations and of text.
        data_files: v3: episodes of each data file.
        video_files: v3: camera -> episodes of each video file.
        data_path: another template; likewise video_path.
        video_path: see there.
        chunks_size: episodes a chunk (v2).
        extra: column of the episodes' metadata -> value an episode.
        frames: (camera, episode) -> frames, in place of the numbered ones.
    """
    three = version.startswith("v3")
    data_path = data_path or (DATA_V3 if three else DATA_V2)
    video_path = video_path or (VIDEO_V3 if three else VIDEO_V2)
    recorded = Recorded(root, list(lengths), list(cameras), fps)
    every = list(range(len(lengths)))
    for number, camera in enumerate(cameras):
        for episode in every:
            own = np.stack([picture(number, episode, t) for t in range(lengths[episode])])
            recorded.frames[camera, episode] = own if frames is None else frames[camera, episode]
    rng = np.random.default_rng(0)
    for episode in every:
        recorded.actions[episode] = rng.normal(size=(lengths[episode], 3)).astype(np.float32)
        recorded.states[episode] = rng.normal(size=(lengths[episode], 2)).astype(np.float32)
    films = [camera for camera in cameras if camera not in images]
    height, width = recorded.frames[cameras[0], 0].shape[1:3]

    features = _features(cameras, images, height, width, fps, channels_first, depth, language)
    info: dict[str, Any] = {
        "codebase_version": version,
        "robot_type": "so100",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 1,
        "chunks_size": chunks_size,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": data_path,
        "video_path": video_path if films or depth else None,
        "features": features,
    }
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps(info, indent=4))
    meta: list[dict[str, Any]] = [
        {"episode_index": e, "tasks": ["Push the block."], "length": lengths[e]} for e in every
    ]
    for column, said in (extra or {}).items():
        for episode in every:
            meta[episode][column] = said[episode]
    groups = data_files or ([every] if three else [[e] for e in every])
    for file, episodes in enumerate(groups):
        values = {"chunk_index": 0, "file_index": file} if three else _v2(episodes[0], chunks_size)
        path = data_path.format(**values)
        write_table(root / path, _columns(recorded, episodes, images, language), row_group=4)
        for episode in episodes:
            recorded.data_file[episode] = path
            if three:
                first = sum(lengths[:episode])
                meta[episode] |= {"data/chunk_index": 0, "data/file_index": file}
                meta[episode] |= {"dataset_from_index": first, "dataset_to_index": first + lengths[episode]}
    for number, camera in enumerate([*films, *([DEPTH] if depth else [])]):
        cut = (video_files or {}).get(camera) or ([every] if three else [[e] for e in every])
        for file, episodes in enumerate(cut):
            # Chunk and file differ from the data files' and from one camera to the next.
            place = {"chunk_index": number + 1, "file_index": 2 * file + number}
            path = video_path.format(video_key=camera, **(place if three else _v2(episodes[0], chunks_size)))
            source = cameras[0] if camera == DEPTH else camera
            joined = np.concatenate([recorded.frames[source, e] for e in episodes])
            stamps = np.arange(len(joined)) / fps
            write_video(root / path, joined, stamps, fps, "depth" if camera == DEPTH else codec)
            before = 0
            for episode in episodes:
                recorded.video_file[camera, episode] = path
                recorded.from_s[camera, episode] = before / fps
                if three:
                    prefix = f"videos/{camera}"
                    meta[episode] |= {f"{prefix}/{name}": value for name, value in place.items()}
                    meta[episode] |= {f"{prefix}/from_timestamp": before / fps}
                    meta[episode] |= {f"{prefix}/to_timestamp": (before + lengths[episode]) / fps}
                before += lengths[episode]
    _metadata(root, three, meta)
    return recorded


def _metadata(root: Path, three: bool, meta: list[dict[str, Any]]) -> None:
    folder = root / "meta"
    if not three:
        (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in meta))
        (folder / "tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "Push the block."}) + "\n")
        return
    for row in meta:
        row |= {"meta/episodes/chunk_index": 0, "stats/action/mean": [0.0, 0.0, 0.0]}
    half = (len(meta) + 1) // 2
    for file, rows in enumerate((meta[:half], meta[half:])):  # two metadata files, cut elsewhere again
        if rows:
            path = root / EPISODES_V3.format(chunk_index=0, file_index=file)
            write_table(path, {name: [row.get(name) for row in rows] for name in rows[0]})
    write_table(folder / "tasks.parquet", {"task_index": [0], "__index_level_0__": ["Push the block."]})


def _v2(episode: int, chunks_size: int) -> dict[str, int]:
    return {"episode_chunk": episode // chunks_size, "episode_index": episode}


def _features(
    cameras: Sequence[str],
    images: Sequence[str],
    height: int,
    width: int,
    fps: float,
    channels_first: bool,
    depth: bool,
    language: bool,
) -> dict[str, Any]:
    number = {"dtype": "int64", "shape": [1], "names": None}
    shape = [3, height, width] if channels_first else [height, width, 3]
    names = ["channels", "height", "width"] if channels_first else ["height", "width", "channels"]
    features: dict[str, Any] = {}
    if depth:
        facts = {"video.fps": fps, "video.codec": "hevc", "video.pix_fmt": "gray12le", "video.is_depth_map": True}
        features[DEPTH] = {"dtype": "video", "shape": [height, width, 1], "names": ["height", "width", "channels"]}
        features[DEPTH]["info"] = facts
    features["action"] = {"dtype": "float32", "shape": [3], "names": {"motors": ["pan", "lift", "gripper"]}}
    features["observation.state"] = {"dtype": "float32", "shape": [2], "names": ["pan.pos", "lift.pos"]}
    for camera in cameras:
        features[camera] = {"dtype": "image" if camera in images else "video", "shape": shape, "names": names}
        if camera not in images:
            features[camera]["info"] = {"video.fps": fps, "video.is_depth_map": False, "has_audio": False}
    if language:
        features["language_persistent"] = {"dtype": "language", "shape": [1], "names": None}
        features["note"] = {"dtype": "string", "shape": [1], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = number
    features["next.success"] = {"dtype": "bool", "shape": [1], "names": None}
    return features


def _columns(recorded: Recorded, episodes: Sequence[int], images: Sequence[str], language: bool) -> dict[str, Any]:
    lengths = recorded.lengths
    own = np.concatenate([np.arange(lengths[e]) for e in episodes])
    number = np.concatenate([np.full(lengths[e], e) for e in episodes])
    first = np.concatenate([np.full(lengths[e], sum(lengths[:e])) for e in episodes])

    def lists(arrays: dict[int, np.ndarray]) -> pa.Array:
        values = np.concatenate([arrays[e] for e in episodes])
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])

    columns: dict[str, Any] = {
        "action": lists(recorded.actions),
        "observation.state": pa.array(np.concatenate([recorded.states[e] for e in episodes]).tolist()),
        "timestamp": pa.array((own / recorded.fps).astype(np.float32)),
        "frame_index": own,
        "episode_index": number,
        "index": first + own,
        "task_index": np.zeros(len(own), np.int64),
        "next.success": pa.array((own == 2) & (number != 1)),  # episode 1 never succeeds
    }
    columns["observation.state"] = columns["observation.state"].cast(pa.list_(pa.float32()))
    for camera in images:
        cells = [
            {"bytes": png(f), "path": f"frame-{t}.png"}
            for e in episodes
            for t, f in enumerate(recorded.frames[camera, e])
        ]
        columns[camera] = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    if language:
        said = [{"role": "user", "content": "push", "style": None, "timestamp": 0.1}]
        columns["language_persistent"] = [said if t == 0 else None for t in own.tolist()]
        columns["note"] = ["a note"] * len(own)
    return columns
