"""Many samples of each clip, scored as they are drawn: figures are kept, videos are not.

"Best of 100 samples" (KTH, KITTI, RoboNet) draws a hundred futures of each test video. Kept together they would be tens
of gigabytes; here a few are drawn at a time, scored, turned into features and let go. What stays are some numbers a
video, in files of the work folder: a run that was killed goes on behind the last block of clips that was whole.

Legend: N clips, S samples, K given frames, P predicted frames, D features, H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from moso.errors import ConfigError, DataError, StopRequested
from moso.evaluation.measures import FrameScore
from moso.evaluation.seeds import sampling_seed
from moso.frames.clips import Clips
from moso.lock import hold
from moso.progress import Progress
from moso.provenance import write_json
from moso.step import StopSignal

VideoFeatures = Callable[[UInt8[np.ndarray, "B P H W 3"]], Float[np.ndarray, "B D"]]
"""Videos -> a row of features each."""
Draw = Callable[
    [UInt8[np.ndarray, "B F H W 3"], Sequence[int], int], Iterator[tuple[slice, UInt8[np.ndarray, "B n P H W 3"]]]
]
"""Whole clips, a seed each, S -> which samples, and their scored frames; all S samples of all clips, in order."""

PLAN = "plan.json"


@dataclass(frozen=True)
class Trials:
    """What is kept of N x S videos.

    Attributes:
        values: metric -> (N, S, P).
        features: network -> (N, S, D), float32.
        true_features: network -> (N, D), of the true frames.
        videos: (N, P, H, W, 3), uint8, of the first sample of each clip; None where they were not kept.
    """

    values: Mapping[str, NDArray[np.float64]]
    features: Mapping[str, NDArray[np.float32]]
    true_features: Mapping[str, NDArray[np.float32]]
    videos: NDArray[np.uint8] | None = None

    def of_videos(self, metric: str) -> NDArray[np.float64]:
        """Mean over a video's predicted frames: (N, S)."""
        return np.asarray(self.values[metric]).mean(axis=2)

    def best(self, metric: str, *, higher_is_better: bool) -> NDArray[np.int64]:
        """Number of the best sample of each clip by this metric alone, by its mean over the video: (N,).

        The convention of the papers: best PSNR, best SSIM and best LPIPS are each taken on their own, and may come from
        three different samples.
        """
        of_videos = self.of_videos(metric)
        return of_videos.argmax(axis=1) if higher_is_better else of_videos.argmin(axis=1)


def run_trials(
    draw: Draw,
    clips: Clips,
    scored: Sequence[int],
    *,
    samples: int,
    seed: int,
    scores: Mapping[str, FrameScore],
    features: Mapping[str, VideoFeatures],
    work: Path,
    identity: Mapping[str, Any],
    batch: int,
    keep_videos: bool = False,
    stop: StopSignal | None = None,
) -> Trials:
    """Draw `samples` videos of every clip and score them.

    Sample j of a clip is what the seed (seed, clip) + j gives, however often the run was interrupted. In batches of
    another size a token may flip where two are as good, by the rounding of sums in another order: the batch is part of
    what is gone on with. Memory holds `batch` videos at a time.

    Args:
        draw: see Draw; it gets at most `batch` clips.
        clips: the truth.
        scored: numbers, from 0, of the frames that `draw` draws.
        samples: S.
        seed: of the samples.
        scores: metric -> function.
        features: network -> function, for Fréchet distances.
        work: folder for what is kept; whole blocks in it are not computed again.
        identity: plain data on which the figures depend beside the arguments: digests of model and clips, networks,
            settings of the sampling.
        batch: clips at a time.
        keep_videos: keep the first sample of each clip, on disk.
        stop: ends the work between two blocks, or two turns of samples.

    Raises:
        ConfigError: fewer than one sample, or no frame to score.
        InputError: clips that do not fit the model.
        DataError: a figure is missing (a drawing that gave too few samples) or no number.
        StopRequested: `stop` was raised; whole blocks are kept.
    """
    count, length, wanted = len(clips), len(scored), list(scored)
    if samples < 1:
        raise ConfigError("samples_per_video", samples, "must be at least 1")
    if length < 1:
        raise ConfigError("predicted_frames", 0, "must be at least 1")
    plan = {
        "identity": dict(identity),
        "clips": [clip.id for clip in clips.clips],
        "frames": [clips.clip_frames, wanted],
        "samples": samples,
        "seed": seed,
        "scores": sorted(scores),
        "features": sorted(features),
        "videos": keep_videos,
        "batch": batch,  # a token may flip where sums run in another order: two batches are two runs
    }
    work.mkdir(parents=True, exist_ok=True)
    with hold(work, "evaluating"):
        kept = _Kept(work, plan, count, samples)
        with Progress("evaluate", count * samples, "videos") as progress:
            progress.advance(kept.clips_done * samples)
            for first in range(kept.clips_done, count, batch):
                rows = range(first, min(first + batch, count))
                whole = clips.batch(list(rows)).numpy()
                truth = whole[:, wanted]
                for name, function in features.items():
                    kept.put(f"true-{name}", rows, None, function(truth).astype(np.float32, copy=False))
                for part, videos in draw(whole, [sampling_seed(seed, clips.clips[i]) for i in rows], samples):
                    if stop:
                        raise StopRequested(f"evaluate: stopped; {first} of {count} clips are kept in {work}")
                    flat = videos.reshape(-1, *videos.shape[2:])
                    true = np.repeat(truth, videos.shape[1], axis=0)
                    for name, score in scores.items():
                        figures = score(flat, true).astype(np.float64, copy=False)
                        kept.put(f"values-{name}", rows, part, figures.reshape(*videos.shape[:2], length))
                    for name, function in features.items():
                        rows_of = function(flat).reshape(*videos.shape[:2], -1)
                        kept.put(f"features-{name}", rows, part, rows_of.astype(np.float32, copy=False))
                    if keep_videos and part.start == 0:
                        kept.put("videos", rows, None, videos[:, 0])
                    progress.advance(len(flat))
                kept.finish(rows)
        return kept.result()


class _Kept:
    """The arrays of a run as memory maps in a folder, and how many clips of them are whole."""

    def __init__(self, folder: Path, plan: Mapping[str, Any], clips: int, samples: int) -> None:
        self._folder, self._clips, self._samples = folder, clips, samples
        self._arrays: dict[str, np.memmap] = {}
        self.clips_done = 0
        path = folder / PLAN
        held = json.loads(path.read_text()) if path.exists() else {}
        if held.get("plan") == json.loads(json.dumps(plan)):
            self.clips_done = int(held["clips_done"])
        self._plan = plan
        if self.clips_done:
            for file in folder.glob("*.npy"):
                self._arrays[file.stem] = np.load(file, mmap_mode="r+", allow_pickle=False)
        else:  # of another run, or of one that had not finished a block
            for file in folder.glob("*.npy"):
                file.unlink()

    def put(self, name: str, rows: range, part: slice | None, values: np.ndarray) -> None:
        """`values` of the clips `rows`: a row each, or one for each of the samples `part`."""
        if name not in self._arrays:
            axes = (self._clips,) if part is None else (self._clips, self._samples)
            self._arrays[name] = np.lib.format.open_memmap(
                self._folder / f"{name}.npy", mode="w+", dtype=values.dtype, shape=(*axes, *values.shape[len(axes) :])
            )
            if values.dtype.kind == "f":  # a figure that was never written must not read as zero
                self._arrays[name][:] = np.nan
        place = slice(rows.start, rows.stop)
        self._arrays[name][place if part is None else (place, part)] = values

    def finish(self, rows: range) -> None:
        """All clips up to the last of `rows` are whole: on disk before it is said.

        Raises:
            DataError: a figure of `rows` is missing or no number.
        """
        for name, array in self._arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array[rows.start : rows.stop]).all():
                raise DataError(f"{name}: a figure of clips {rows.start} to {rows.stop - 1} is missing or no number")
            array.flush()
        self.clips_done = rows.stop
        write_json(self._folder / PLAN, {"plan": self._plan, "clips_done": rows.stop})

    def result(self) -> Trials:
        def of(kind: str) -> dict[str, Any]:
            named = {name: array for name, array in sorted(self._arrays.items()) if name.startswith(f"{kind}-")}
            return {name.removeprefix(f"{kind}-"): array for name, array in named.items()}

        return Trials(of("values"), of("features"), of("true"), self._arrays.get("videos"))
