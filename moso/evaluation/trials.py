"""Many samples of each clip, scored as they are drawn: figures are kept, videos are not.

"Best of 100 samples" (KTH, KITTI, RoboNet) draws a hundred futures of each test video. Kept together they would be tens
of gigabytes; here a few are drawn at a time, scored, turned into features and let go. What stays are some numbers a
video, in files of the work folder: a run that was killed goes on behind the last block of clips that was whole.

Legend: N clips, S samples, K given frames, P predicted frames, D features, H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from moso.choices import Carry
from moso.config import to_dict
from moso.errors import ConfigError, StopRequested
from moso.evaluation.comparison import sampling_seed
from moso.frames.clips import Clips
from moso.lock import hold
from moso.progress import Progress
from moso.provenance import write_json
from moso.step import StopSignal
from moso.tasks.model import Model
from moso.transformer.config import SamplingConfig

FrameScore = Callable[[UInt8[np.ndarray, "B P H W 3"], UInt8[np.ndarray, "B P H W 3"]], Float[np.ndarray, "B P"]]
"""Predicted frames and the true ones -> a figure a frame."""
VideoFeatures = Callable[[UInt8[np.ndarray, "B P H W 3"]], Float[np.ndarray, "B D"]]
"""Videos -> a row of features each."""

PLAN = "plan.json"


@dataclass(frozen=True)
class Trials:
    """What is kept of N x S videos.

    Attributes:
        values: metric -> (N, S, P).
        features: network -> (N, S, D), float32.
        true_features: network -> (N, D), of the true frames.
    """

    values: Mapping[str, NDArray[np.float32]]
    features: Mapping[str, NDArray[np.float32]]
    true_features: Mapping[str, NDArray[np.float32]]

    def of_videos(self, metric: str) -> NDArray[np.float64]:
        """Mean over a video's predicted frames: (N, S)."""
        return self.values[metric].astype(np.float64).mean(axis=2)

    def best(self, metric: str, *, higher_is_better: bool) -> NDArray[np.float64]:
        """The best sample of each clip by this metric alone, by its mean over the video: (N,).

        The convention of the papers: best PSNR, best SSIM and best LPIPS are each taken on their own, and may come from
        three different samples.
        """
        of_videos = self.of_videos(metric)
        return of_videos.max(axis=1) if higher_is_better else of_videos.min(axis=1)


def run_trials(
    model: Model,
    clips: Clips,
    *,
    samples: int,
    seed: int,
    scores: Mapping[str, FrameScore],
    features: Mapping[str, VideoFeatures],
    work: Path,
    identity: Mapping[str, Any],
    carry: Carry = "tokens",
    fade: bool = True,
    sampling: SamplingConfig | None = None,
    stop: StopSignal | None = None,
) -> Trials:
    """Draw `samples` futures of every clip and score them; clips hold the given frames and all that are predicted.

    Sample j of a clip is what the seed (seed, clip) + j gives, whatever the batch and however often the run was
    interrupted. Memory holds `model.batch` videos at a time.

    Args:
        model: any model of the clips' size.
        clips: K given frames and P to be predicted each; P beyond the model's T - K is rolled out.
        samples: S.
        seed: of the samples.
        scores: metric -> function.
        features: network -> function, for Fréchet distances.
        work: folder for what is kept; whole blocks in it are not computed again.
        identity: plain data on which the figures depend beside the arguments: digests of model and clips, networks.
        carry, fade: of a rollout.
        sampling: settings in place of the model's own.
        stop: ends the work between two blocks, or two turns of samples.

    Raises:
        ConfigError: fewer than one sample, or clips without a frame to predict.
        InputError: clips that do not fit the model.
        StopRequested: `stop` was raised; whole blocks are kept.
    """
    count, length = len(clips), clips.clip_frames - model.given_frames
    if samples < 1:
        raise ConfigError("samples_per_video", samples, "must be at least 1")
    if length < 1:
        raise ConfigError("clip_frames", clips.clip_frames, f"leaves nothing to predict after {model.given_frames}")
    plan = {
        "identity": dict(identity),
        "clips": [clip.id for clip in clips.clips],
        "frames": [model.given_frames, length],
        "samples": samples,
        "seed": seed,
        "scores": sorted(scores),
        "features": sorted(features),
        "carry": carry,
        "fade": fade,
        "sampling": to_dict(sampling or model.sampling),
    }
    work.mkdir(parents=True, exist_ok=True)
    with hold(work, "evaluating"):
        kept = _Kept(work, plan, count, samples, length, scores)
        with Progress("trials", count * samples, "videos") as progress:
            progress.advance(kept.clips_done * samples)
            for first in range(kept.clips_done, count, model.batch):
                rows = range(first, min(first + model.batch, count))
                whole = clips.batch(list(rows)).numpy()
                given, truth = whole[:, : model.given_frames], whole[:, model.given_frames :]
                for name, function in features.items():
                    kept.put_true(name, rows, function(truth))
                seeds = [sampling_seed(seed, clips.clips[i]) for i in rows]
                drawn = model.trials(given, samples, length, carry=carry, fade=fade, seed=seeds, sampling=sampling)
                for part, videos in drawn:
                    if stop:
                        raise StopRequested(f"trials: stopped; {first} of {count} clips are kept in {work}")
                    flat = videos.reshape(-1, *videos.shape[2:])
                    true = np.repeat(truth, videos.shape[1], axis=0)
                    for name, score in scores.items():
                        kept.put(name, rows, part, score(flat, true).reshape(*videos.shape[:2], length))
                    for name, function in features.items():
                        kept.put_features(name, rows, part, function(flat).reshape(*videos.shape[:2], -1))
                    progress.advance(len(flat))
                kept.finish(rows.stop)
        return kept.result(sorted(scores), sorted(features))


class _Kept:
    """The arrays of a run as memory maps in a folder, and how many clips of them are whole."""

    def __init__(
        self, folder: Path, plan: Mapping[str, Any], clips: int, samples: int, length: int, scores: Mapping[str, Any]
    ) -> None:
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
        for name in scores:
            self._open(f"values-{name}", (clips, samples, length))

    def _open(self, name: str, shape: Sequence[int]) -> np.memmap:
        if name not in self._arrays:
            self._arrays[name] = np.lib.format.open_memmap(
                self._folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=tuple(shape)
            )
        return self._arrays[name]

    def put(self, metric: str, rows: range, part: slice, values: np.ndarray) -> None:
        self._arrays[f"values-{metric}"][rows.start : rows.stop, part] = values

    def put_features(self, network: str, rows: range, part: slice, values: np.ndarray) -> None:
        array = self._open(f"features-{network}", (self._clips, self._samples, values.shape[-1]))
        array[rows.start : rows.stop, part] = values

    def put_true(self, network: str, rows: range, values: np.ndarray) -> None:
        array = self._open(f"true-{network}", (self._clips, values.shape[-1]))
        array[rows.start : rows.stop] = values

    def finish(self, clips_done: int) -> None:
        """The first `clips_done` clips are whole: on disk before it is said."""
        for array in self._arrays.values():
            array.flush()
        self.clips_done = clips_done
        write_json(self._folder / PLAN, {"plan": self._plan, "clips_done": clips_done})

    def result(self, metrics: Sequence[str], networks: Sequence[str]) -> Trials:
        return Trials(
            {name: self._arrays[f"values-{name}"] for name in metrics},
            {name: self._arrays[f"features-{name}"] for name in networks},
            {name: self._arrays[f"true-{name}"] for name in networks},
        )
