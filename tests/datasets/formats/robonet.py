"""RoboNet files as its recorders wrote them, with h5py, PyAV and Pillow: nothing of moso is used."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import h5py
import numpy as np
from PIL import Image


def video(seed: int, frames: int = 8, height: int = 16, width: int = 32) -> np.ndarray:
    """Smooth, strongly coloured frames uint8 (T, H, W, 3), RGB, each unlike the others: red is bright, blue dark."""
    y, x = np.mgrid[0:height, 0:width]
    grey = np.stack([(20 * seed + 9 * t + y + x) % 90 for t in range(frames)])
    return np.stack([grey + 150, grey + 60, grey], axis=-1).astype(np.uint8)


def mp4(frames: np.ndarray, codec: str = "libx264rgb") -> bytes:
    """libx264rgb with quantiser 0 loses nothing; libx264 is what imageio wrote (4:2:0)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        lossless = codec == "libx264rgb"
        stream = container.add_stream(codec, rate=Fraction(10), options={"qp": "0"} if lossless else {"crf": "5"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def jpeg(frame: np.ndarray) -> bytes:
    """What cv2.imencode writes of an array that OpenCV takes as BGR: `frame` has its channels in that order."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame[..., ::-1])).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write(
    path: Path,
    cameras: Sequence[np.ndarray],
    *,
    encoding: str = "mp4",
    order: str = "RGB",
    state: np.ndarray | None = None,
    actions: np.ndarray | None = None,
    codec: str = "libx264rgb",
) -> tuple[np.ndarray, np.ndarray]:
    """One trajectory; `cameras` are true RGB, stored in `order`. Returns state (T, S) and actions (T - 1, A)."""
    count, rng = len(cameras[0]), np.random.default_rng(0)
    state = rng.normal(size=(count, 4)).astype(np.float32) if state is None else state
    actions = rng.normal(size=(count - 1, 4)).astype(np.float32) if actions is None else actions
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["file_version"] = "0.1.0"
        env = file.create_group("env")
        env.attrs["n_cams"], env.attrs["cam_encoding"] = len(cameras), encoding
        for number, frames in enumerate(cameras):
            stored = frames if order == "RGB" else frames[..., ::-1]
            group = env.create_group(f"cam{number}_video")
            if encoding == "mp4":
                data = group.create_dataset("frames", data=np.frombuffer(mp4(stored, codec), dtype=np.uint8))
                data.attrs["shape"], data.attrs["T"] = frames.shape[1:], count
                data.attrs["image_format"] = order
                continue
            for t, frame in enumerate(stored):
                data = group.create_dataset(f"frame{t}", data=np.frombuffer(jpeg(frame), dtype=np.uint8))
                data.attrs["shape"], data.attrs["image_format"] = frame.shape, order
        env["state"] = state
        file["policy/actions"] = actions
        file["misc/low_bound"], file["misc/high_bound"] = np.zeros(5), np.ones(5)
        file.create_group("metadata").attrs["robot"] = "sawyer"
    return state, actions
