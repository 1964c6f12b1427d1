"""Moving pictures for the report: every frame of a clip's videos in one sheet that the page steps through.

A sheet is one WebP picture (a row a video, a column a frame): one decode, and any frame can be looked at while the clip
stands still, which an animated picture does not allow.

Legend: N clips, n of them shown, T frames, P scored frames, H W pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from moso.errors import MosoError
from moso.evaluation.ceiling import Draw, windowed
from moso.evaluation.comparison import Comparison
from moso.evaluation.metrics import higher_is_better
from moso.frames.clips import Clip, Clips
from moso.tasks.model import Model

# Rows of a sheet, from the top; a film has those of them that its model and task have.
ROWS = (
    "truth", "prediction", "interpolation", "drawn", "difference", "reconstruction", "motion", "scene", "object",
)  # fmt: skip
ROLLOUT_ROWS = ("truth", "prediction", "difference")
DIFFERENCE_GAIN = 2
QUALITY = 90
LARGEST_SIDE = 128
LEAST_SPREAD = 3  # best, median and worst


@dataclass(frozen=True)
class Film:
    """A clip's videos and figures, as the page shows them.

    Attributes:
        clip: which one.
        rank: its place among all evaluated clips by `ranked_by`, from 1 (the best); 0 where nothing ranks them.
        videos: row name -> uint8 (T, H, W, 3).
        psnr: of each scored frame, dB; `baseline_psnr` of the first baseline. Empty where PSNR was not asked for.
        baseline_psnr: see `psnr`.
        figures: metric -> (main method, first baseline) over the clip; the baseline's is NaN where there is none.
    """

    clip: Clip
    rank: int
    videos: dict[str, UInt8[np.ndarray, "T H W 3"]]
    psnr: Sequence[float] = ()
    baseline_psnr: Sequence[float] = ()
    figures: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def ranked_by(metrics: Sequence[str]) -> str | None:
    """The metric that ranks clips for the page: an LPIPS where one was computed, else PSNR, else the first.

    None where there is no figure of single clips.
    """
    perceptual = [metric for metric in metrics if metric.startswith("lpips_")]
    return next(iter([*perceptual, *(m for m in metrics if m == "psnr"), *metrics]), None)


def median_rank(count: int) -> int:
    """The rank, from 1, of the median among `count` clips; the better of the middle two where they are even."""
    return (count + 1) // 2


def spread(values: NDArray[np.float64], count: int, *, higher_is_better: bool = True) -> list[tuple[int, int]]:
    """(rank from 1, index) pairs, evenly spread from the best of `values` to the worst; the median is always there.

    Args:
        values: one a clip, (N,).
        count: how many; at least three (best, median, worst) are taken where there are as many.
        higher_is_better: the metric's direction.
    """
    order = np.argsort(-np.asarray(values) if higher_is_better else np.asarray(values), kind="stable")
    last = len(order) - 1
    places = np.unique(np.rint(np.linspace(0, last, min(max(count, LEAST_SPREAD), len(order)))).astype(int))
    middle = median_rank(len(order)) - 1
    if middle not in places:
        places[1 + np.abs(places[1:-1] - middle).argmin()] = middle  # the nearest gives way, the ends never do
    return [(int(place) + 1, int(order[place])) for place in places]


def shown_places(comparison: Comparison, count: int) -> list[tuple[int, int]]:
    """(rank, index) of about `count` clips from the best to the worst of `main`; rank 0 where nothing ranks them."""
    metric = ranked_by(comparison.metrics)
    if metric is None:
        return [(0, index) for _, index in spread(np.arange(len(comparison.clips), 0, -1.0), count)]
    values = comparison.of_clips(metric, comparison.main)
    return spread(values, count, higher_is_better=higher_is_better(metric))


def difference(
    truth: UInt8[np.ndarray, "T H W 3"], video: UInt8[np.ndarray, "T H W 3"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """|video - truth|, twice as bright, black where they agree."""
    apart = np.abs(video.astype(np.int16) - truth.astype(np.int16)) * DIFFERENCE_GAIN
    return np.minimum(apart, 255).astype(np.uint8)


def make_films(
    model: Model, clips: Clips, comparison: Comparison, drawn: UInt8[np.ndarray, "N P H W 3"], count: int
) -> list[Film]:
    """Films of about `count` clips from the best to the worst of the main method, as the page tells its reader.

    Args:
        model: draws the reconstruction and each component alone.
        clips: all evaluated clips, whole.
        comparison: the figures that rank them.
        drawn: the main method's scored frames of all clips (a sample of each): they are shown, not drawn again.
        count: how many; see `shown_places`.
    """
    main, metrics = comparison.main, comparison.metrics
    places = shown_places(comparison, count)
    videos = draw_videos(model, clips, [i for _, i in places], drawn, main=main, frames=comparison.frames)
    baseline = next(iter(comparison.baselines), "")

    def of(metric: str, method: str, index: int) -> list[float]:
        values = comparison.values.get(metric, {})
        return values[method][index].tolist() if method in values else []

    return [
        Film(
            clip=clips.clips[index],
            rank=rank,
            videos=shown,
            psnr=of("psnr", main, index),
            baseline_psnr=of("psnr", baseline, index),
            figures={m: (_mean(of(m, main, index)), _mean(of(m, baseline, index))) for m in metrics},
        )
        for (rank, index), shown in zip(places, videos, strict=True)
    ]


def drawn_films(videos: Sequence[UInt8[np.ndarray, "T H W 3"]]) -> list[Film]:
    """Films of videos that were drawn from nothing, in order."""
    return [Film(clip=Clip("drawn", i), rank=0, videos={"drawn": video}) for i, video in enumerate(videos)]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def draw_videos(
    model: Model,
    clips: Clips,
    indices: Sequence[int],
    drawn: UInt8[np.ndarray, "N P H W 3"],
    *,
    main: str = "prediction",
    frames: Sequence[int] | None = None,
) -> list[dict[str, UInt8[np.ndarray, "T H W 3"]]]:
    """The videos of the chosen clips.

    Args:
        model: draws the reconstruction and each component alone, window by window where clips are longer than its own.
        clips: all evaluated clips.
        indices: the chosen ones.
        drawn: the frames that were scored, of all clips: they are shown, not drawn again.
        main: what they are: "prediction", "interpolation" or "reconstruction".
        frames: their numbers in the clip, from 1; those behind the given ones when None.
    """
    truth = clips.batch(list(indices)).numpy()
    places = np.arange(model.given_frames, truth.shape[1]) if frames is None else np.asarray(frames) - 1
    decoded = {}
    if truth.shape[1] >= model.clip_frames:
        draw: dict[str, Draw] = {"reconstruction": model.decode}
        for part in model.components:
            draw[part] = partial(model.decode, only={part})
        decoded = windowed(model, truth, range(truth.shape[1]), draw)
    videos = []
    for row, index in enumerate(indices):
        whole = truth[row].copy()
        whole[places] = drawn[index]
        rows = {"truth": truth[row], main: whole, "difference": difference(truth[row], whole)}
        rows = {**{name: video[row] for name, video in decoded.items() if name != main}, **rows}
        # Behind the last predicted frame there is nothing to show, where the model's window is the longer one.
        end = places[-1] + 1 if main == "prediction" else truth.shape[1]
        videos.append({name: video[:end] for name, video in rows.items()})
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
