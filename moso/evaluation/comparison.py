"""A model and the baselines on the same clips: the figures that everything else in an evaluation is made of.

Each batch of clips is encoded once; every method's frames are then scored against the same truth. Given frames do not
count.

Legend: N clips, K given frames, P = T - K predicted frames, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from moso.errors import DataError, StopRequested
from moso.evaluation.baselines import hedge, repeat_last
from moso.evaluation.metrics import psnr, ssim, unit_range
from moso.frames.clips import Clip, Clips, windows
from moso.progress import Progress
from moso.step import StopSignal
from moso.tasks.model import Model
from moso.tokens.clip_tokens import ClipTokens
from moso.transformer.config import SamplingConfig

if TYPE_CHECKING:
    import pandas as pd

    from moso.frames.cache import FrameCache

# Order of tables and curves.
METHODS = ("prediction", "repeat_last", "hedge", "reconstruction", "motion_frozen")
METRICS = ("psnr", "ssim")
BASELINES = ("repeat_last", "hedge")
CLIP_RULE = "windows of T frames inside an episode, at stride T (none overlap), in the order of the frame cache"


@dataclass(frozen=True)
class Comparison:
    """Values of every method, clip and predicted frame.

    Attributes:
        clips: the clips, in order.
        given_frames: K.
        values: metric -> method -> (N, P): PSNR in dB, SSIM as a fraction.
    """

    clips: Sequence[Clip]
    given_frames: int
    values: dict[str, dict[str, NDArray[np.float64]]]

    @property
    def episodes(self) -> list[str]:
        """Episode of each clip."""
        return [clip.episode_id for clip in self.clips]

    def of_clips(self, metric: str, method: str) -> NDArray[np.float64]:
        """Mean over a clip's predicted frames: (N,)."""
        return self.values[metric][method].mean(axis=1)

    def of_frames(self, metric: str, method: str) -> NDArray[np.float64]:
        """Mean over clips, by predicted frame: (P,)."""
        return self.values[metric][method].mean(axis=0)

    def per_clip(self) -> pd.DataFrame:
        """A row a clip and method: clip_id, episode_id, first_frame, method, psnr, ssim."""
        import pandas as pd

        rows = [
            {
                "clip_id": clip.id,
                "episode_id": clip.episode_id,
                "first_frame": clip.first_frame,
                "method": method,
                **{metric: float(self.values[metric][method][i].mean()) for metric in METRICS},
            }
            for method in METHODS
            for i, clip in enumerate(self.clips)
        ]
        return pd.DataFrame(rows)

    def per_frame(self) -> pd.DataFrame:
        """A row a method and predicted frame: frame (its number in the clip, from 1), method, psnr, ssim."""
        import pandas as pd

        rows = [
            {
                "frame": self.given_frames + 1 + i,
                "method": method,
                **{metric: float(self.of_frames(metric, method)[i]) for metric in METRICS},
            }
            for method in METHODS
            for i in range(self.values["psnr"][method].shape[1])
        ]
        return pd.DataFrame(rows)


def select_clips(
    cache: FrameCache, split: str, clip_frames: int, *, max_clips: int | None, min_clips: int, min_episodes: int
) -> list[Clip]:
    """Clips that do not overlap, enough of them.

    Args:
        cache: the frames.
        split: whose episodes to take.
        clip_frames: T, also the stride inside an episode.
        max_clips: take the first so many; all when None.
        min_clips: refuse fewer.
        min_episodes: refuse clips of fewer episodes.

    Raises:
        DataError: too few, with what was found and what to do.
    """
    clips = windows(cache, split, clip_frames, stride=clip_frames)[:max_clips]
    episodes = len({clip.episode_id for clip in clips})
    if len(clips) < min_clips or episodes < min_episodes:
        raise DataError(
            f"split {split!r} gives {len(clips)} clips of {clip_frames} frames from {episodes} episodes, "
            f"the evaluation asks for at least {min_clips} from {min_episodes}: add episodes to that split, or lower "
            "evaluate.min_clips and evaluate.min_episodes (figures of few episodes say little)"
        )
    return clips


def sampling_seed(seed: int, clip: Clip) -> int:
    """The seed of a clip's sample, in [0, 2^31): from the evaluation's seed and the clip's id and nothing else."""
    return int.from_bytes(hashlib.sha256(f"{seed} {clip.id}".encode()).digest()[:4], "big") >> 1


def freeze_motion(tokens: ClipTokens) -> ClipTokens:
    """The same clips with every frame's motion tokens replaced by the first frame's.

    Where motion carries nothing, decoding them changes nothing: the reconstruction must break, or Stage I cheats.
    """
    return ClipTokens(tokens.scene, tokens.object, tokens.motion[:, :1].expand_as(tokens.motion).contiguous())


def compare(
    model: Model,
    clips: Clips,
    *,
    mean_image: Float[np.ndarray, "H W 3"],
    seed: int,
    sampling: SamplingConfig | None = None,
    predictions: UInt8[np.ndarray, "N P H W 3"] | None = None,
    stop: StopSignal | None = None,
) -> Comparison:
    """Score the model's prediction, its reconstructions and the baselines.

    Args:
        model: any model of the clips' size and length.
        clips: the truth.
        mean_image: of the training frames, [0, 255]; for the hedge.
        seed: of the samples.
        sampling: settings in place of the model's own.
        predictions: where given, the predicted frames are put there (a memory map, so that memory stays bounded).
        stop: ends the work between two batches.

    Raises:
        InputError: clips that do not fit the model.
        StopRequested: `stop` was raised.
    """
    count, given_frames = len(clips), model.given_frames
    predicted = range(given_frames, model.clip_frames)
    values = {m: {method: np.empty((count, len(predicted))) for method in METHODS} for m in METRICS}
    with Progress("evaluate", count, "clips") as progress:
        for first in range(0, count, model.batch):
            if stop:
                raise StopRequested("evaluate: stopped; nothing was written, run it again")
            rows = range(first, min(first + model.batch, count))
            whole = clips.batch(list(rows)).numpy()
            given = whole[:, :given_frames]
            tokens = model.encode(whole)
            videos = {
                "prediction": model.predict(
                    given, seed=[sampling_seed(seed, clips.clips[i]) for i in rows], sampling=sampling
                ),
                "repeat_last": repeat_last(given, len(predicted)),
                "hedge": hedge(given, len(predicted), mean_image),
                "reconstruction": model.decode(tokens, predicted),
                # blind to time (Eqs. 3-8): with one frame's motion tokens everywhere, all frames are one
                "motion_frozen": model.decode(freeze_motion(tokens), [0]).repeat(len(predicted), axis=1),
            }
            truth = unit_range(torch.from_numpy(whole[:, given_frames:]))
            for method, video in videos.items():
                frames = unit_range(torch.from_numpy(video))
                values["psnr"][method][rows.start : rows.stop] = psnr(frames, truth).numpy()
                values["ssim"][method][rows.start : rows.stop] = ssim(frames, truth).numpy()
            if predictions is not None:
                predictions[rows.start : rows.stop] = videos["prediction"]
            progress.advance(len(rows), f"{values['psnr']['prediction'][: rows.stop].mean():.2f} dB")
    return Comparison(clips.clips, given_frames, values)
