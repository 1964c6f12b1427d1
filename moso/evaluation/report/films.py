"""Moving pictures for the report: every frame of a clip's videos in one sheet that the page steps through.

A sheet is one WebP picture (a row a video, a column a frame): one decode, and any frame can be looked at while the clip
stands still, which an animated picture does not allow.

Legend: N clips, T frames, H W pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from moso.errors import MosoError
from moso.frames.clips import Clip, Clips
from moso.tasks.model import Model

# Rows of a sheet, from the top; a model without a component has no row for it.
ROWS = ("truth", "prediction", "difference", "reconstruction", "motion", "scene", "object")
ROLLOUT_ROWS = ("truth", "prediction", "difference")
DIFFERENCE_GAIN = 2
QUALITY = 90
LARGEST_SIDE = 128


@dataclass(frozen=True)
class Film:
    """A clip's videos and figures, as the page shows them.

    Attributes:
        clip: which one.
        rank: its place among all evaluated clips by the prediction's PSNR, from 1 (the best).
        videos: row name -> uint8 (T, H, W, 3).
        psnr: of each predicted frame, dB; `baseline_psnr` of repeating the last given one.
        baseline_psnr: see `psnr`.
        figures: metric -> (prediction, repeat_last) over the clip.
    """

    clip: Clip
    rank: int
    videos: dict[str, UInt8[np.ndarray, "T H W 3"]]
    psnr: Sequence[float]
    baseline_psnr: Sequence[float]
    figures: dict[str, tuple[float, float]]


def spread(values: NDArray[np.float64], count: int) -> list[tuple[int, int]]:
    """`count` (rank from 1, index) pairs evenly spread from the highest of `values` to the lowest."""
    order = np.argsort(-np.asarray(values), kind="stable")
    places = np.unique(np.rint(np.linspace(0, len(order) - 1, min(count, len(order)))).astype(int))
    return [(int(place) + 1, int(order[place])) for place in places]


def difference(
    truth: UInt8[np.ndarray, "T H W 3"], video: UInt8[np.ndarray, "T H W 3"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """|video - truth|, twice as bright, black where they agree."""
    apart = np.abs(video.astype(np.int16) - truth.astype(np.int16)) * DIFFERENCE_GAIN
    return np.minimum(apart, 255).astype(np.uint8)


def draw_videos(
    model: Model, clips: Clips, indices: Sequence[int], predictions: UInt8[np.ndarray, "N P H W 3"]
) -> list[dict[str, UInt8[np.ndarray, "T H W 3"]]]:
    """The videos of the chosen clips.

    Args:
        model: draws the reconstruction and each component alone.
        clips: all evaluated clips.
        indices: the chosen ones.
        predictions: the frames that were scored, of all clips: they are shown, not drawn again.
    """
    truth = clips.batch(list(indices)).numpy()
    tokens = model.encode(truth)
    alone = {component: model.decode(tokens, only={component}) for component in model.components}
    reconstruction = model.decode(tokens)
    videos = []
    for row, index in enumerate(indices):
        predicted = np.concatenate([truth[row, : model.given_frames], predictions[index]])
        videos.append(
            {
                "truth": truth[row],
                "prediction": predicted,
                "difference": difference(truth[row], predicted),
                "reconstruction": reconstruction[row],
                **{component: video[row] for component, video in alone.items()},
            }
        )
    return videos


def sheet(
    videos: dict[str, UInt8[np.ndarray, "T H W 3"]], rows: Sequence[str] = ROWS
) -> UInt8[np.ndarray, "rows_H T_W 3"]:
    """The videos `rows` in one picture: rows from the top, frames from the left."""
    return np.concatenate([np.concatenate(list(videos[name]), axis=1) for name in rows], axis=0)


def shown_size(height: int, width: int) -> tuple[float, int, int]:
    """(scale, height, width) of a frame inside the page: large frames are reduced, so that the file stays small."""
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    return scale, round(height * scale), round(width * scale)


def data_uri(picture: UInt8[np.ndarray, "H W 3"], scale: float = 1.0) -> str:
    """A picture as a WebP data address.

    Raises:
        MosoError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MosoError("the report page needs Pillow to write pictures: pip install pillow") from None
    image = Image.fromarray(picture)
    if scale != 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)
    buffer = io.BytesIO()
    # Sharp chroma: halved colour planes smear objects of a few pixels.
    image.save(buffer, "WEBP", quality=QUALITY, method=6, use_sharp_yuv=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
