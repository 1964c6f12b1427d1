"""A model and the baselines on the same clips: the figures that everything else in an evaluation is made of.

Every method's frames are scored against the same truth. Of several samples a video, the best one counts or their mean,
as the protocol says.

Legend: N clips, S samples, P scored frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moso.errors import DataError, StopRequested
from moso.evaluation.measures import FrameScore
from moso.evaluation.metrics import higher_is_better
from moso.evaluation.protocol_file import WindowRule
from moso.evaluation.statistics import bootstrap_band
from moso.evaluation.task import Task
from moso.evaluation.trials import Trials
from moso.evaluation.windows import evaluated_windows
from moso.frames.clips import Clip, Clips
from moso.progress import Progress
from moso.step import StopSignal

if TYPE_CHECKING:
    import pandas as pd

    from moso.frames.cache import FrameCache

Bands = Mapping[str, Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]]
"""metric -> method -> lower and upper end by scored frame, (P,) each."""


@dataclass(frozen=True)
class Comparison:
    """Values of every method, clip and scored frame.

    Attributes:
        clips: the clips, in order.
        given_frames: K, frames that are given.
        main: name of what is measured: "prediction", "interpolation", "reconstruction".
        frames: numbers, from 1, of the scored frames in their clip.
        baselines: those methods that `main` is held against.
        values: metric -> method -> (N, P); of several samples what counts. PSNR in dB, SSIM as a fraction.
        samples: metric -> (N, S): the mean over each sample of `main`.
    """

    clips: Sequence[Clip]
    given_frames: int
    main: str
    frames: Sequence[int]
    baselines: Sequence[str]
    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    samples: Mapping[str, NDArray[np.float64]]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those with a figure a frame, in the protocol's order."""
        return tuple(self.values)

    @property
    def methods(self) -> tuple[str, ...]:
        """In the order of tables and curves; `main` is the first."""
        return tuple(next(iter(self.values.values()), {}))

    @property
    def episodes(self) -> list[str]:
        """Episode of each clip."""
        return [clip.episode_id for clip in self.clips]

    def of_clips(self, metric: str, method: str) -> NDArray[np.float64]:
        """Mean over a clip's scored frames: (N,)."""
        return self.values[metric][method].mean(axis=1)

    def of_frames(self, metric: str, method: str) -> NDArray[np.float64]:
        """Mean over clips, by scored frame: (P,)."""
        return self.values[metric][method].mean(axis=0)

    def bands(self, *, seed: int, resamples: int) -> Bands:
        """95% intervals of `of_frames`, episodes drawn with replacement."""
        how = {"seed": seed, "resamples": resamples}
        return {
            metric: {method: bootstrap_band(values, self.episodes, **how) for method, values in of_method.items()}
            for metric, of_method in self.values.items()
        }

    def per_clip(self) -> pd.DataFrame:
        """A row a clip, method and sample: clip_id, episode_id, first_frame, method, sample, then the metrics."""
        import pandas as pd

        rows = []
        for method in self.methods:
            drawn = self.samples if method == self.main else {}
            count = max((len(of_samples[0]) for of_samples in drawn.values()), default=1)
            for i, clip in enumerate(self.clips):
                where = {"clip_id": clip.id, "episode_id": clip.episode_id, "first_frame": clip.first_frame}
                for sample in range(count):
                    figures = {
                        metric: float(drawn[metric][i, sample] if drawn else self.values[metric][method][i].mean())
                        for metric in self.metrics
                    }
                    rows.append({**where, "method": method, "sample": sample, **figures})
        return pd.DataFrame(rows)

    def per_frame(self, bands: Bands) -> pd.DataFrame:
        """A row a method and scored frame: frame, method, then each metric with its interval (_low, _high)."""
        import pandas as pd

        rows = []
        for method in self.methods:
            for i, frame in enumerate(self.frames):
                row: dict[str, object] = {"frame": frame, "method": method}
                for metric in self.metrics:
                    low, high = bands[metric][method]
                    row[metric] = float(self.of_frames(metric, method)[i])
                    row |= {f"{metric}_low": float(low[i]), f"{metric}_high": float(high[i])}
                rows.append(row)
        return pd.DataFrame(rows)


def select_clips(
    cache: FrameCache,
    split: str,
    clip_frames: int,
    *,
    windows: WindowRule | None = None,
    videos: int | None = None,
    min_clips: int = 1,
    min_episodes: int = 1,
) -> list[Clip]:
    """The evaluated clips, enough of them.

    Args:
        cache: the frames.
        split: whose episodes to take.
        clip_frames: frames of a clip.
        windows: which windows of an episode; those that do not overlap when None.
        videos: so many; all when None.
        min_clips: refuse fewer.
        min_episodes: refuse clips of fewer episodes.

    Raises:
        DataError: too few, with what was found and what to do.
    """
    clips = evaluated_windows(cache, split, windows or WindowRule(), clip_frames, videos)
    episodes = len({clip.episode_id for clip in clips})
    if len(clips) < min_clips or episodes < min_episodes:
        raise DataError(
            f"split {split!r} gives {len(clips)} clips of {clip_frames} frames from {episodes} episodes, "
            f"the evaluation asks for at least {min_clips} from {min_episodes}: add episodes to that split, or lower "
            "evaluate.min_clips and evaluate.min_episodes (figures of few episodes say little)"
        )
    return clips


def score_methods(
    task: Task, clips: Clips, scores: Mapping[str, FrameScore], *, batch: int, stop: StopSignal | None = None
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """metric -> method -> (N, P), of every method that `task` holds its own against.

    Args:
        task: baselines and bounds.
        clips: the truth.
        scores: metric -> function.
        batch: clips at a time; bounds memory.
        stop: ends the work between two batches.

    Raises:
        StopRequested: `stop` was raised.
    """
    count, scored = len(clips), list(task.scored)
    values: dict[str, dict[str, NDArray[np.float64]]] = {metric: {} for metric in scores}
    with Progress("baselines", count, "clips") as progress:
        for first in range(0, count, batch):
            if stop:
                raise StopRequested("evaluate: stopped among the baselines; the videos drawn are kept, run it again")
            rows = range(first, min(first + batch, count))
            whole = clips.batch(list(rows)).numpy()
            videos = {name: method(whole) for name, method in task.baselines.items()} | dict(task.bounds(whole))
            for metric, score in scores.items():
                for method, frames in videos.items():
                    into = values[metric].setdefault(method, np.empty((count, len(scored))))
                    into[rows.start : rows.stop] = score(frames, whole[:, scored])
            progress.advance(len(rows))
    return values


def compare(
    task: Task,
    clips: Clips,
    trials: Trials,
    others: Mapping[str, Mapping[str, NDArray[np.float64]]],
    *,
    best_of: str,
) -> Comparison:
    """Join what was drawn with what it is held against.

    Args:
        task: what was measured.
        clips: on which clips.
        trials: the figures of `task.main`.
        others: of `score_methods`.
        best_of: "each_metric_over_video_mean" takes the best sample of each video for each metric on its own; "none"
            the mean over samples.
    """
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    for metric in others:
        drawn = np.asarray(trials.values[metric], np.float64)
        if best_of == "none":
            counted = drawn.mean(axis=1)
        else:
            best = trials.best(metric, higher_is_better=higher_is_better(metric))
            counted = drawn[np.arange(len(drawn)), best]
        values[metric] = {task.main: counted, **others[metric]}
    return Comparison(
        clips=clips.clips,
        given_frames=len(task.given),
        main=task.main,
        frames=[frame + 1 for frame in task.scored],
        baselines=tuple(task.baselines),
        values=values,
        samples={metric: trials.of_videos(metric) for metric in others},
    )
