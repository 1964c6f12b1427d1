"""Long prediction, clip after clip, held against the truth: quality by frame, and what happens where clips meet.

The starts of episodes are rolled out as far as asked (Sec. 4: KTH 10 -> 40, KITTI 5 -> 25). A clip's last frames are
all that the next one knows; a joint that shows would be a jump in the picture. Whether there is one is measured: the
change from each frame to the next, at joints and elsewhere, of the prediction and of the truth.

Legend: N episodes, K given frames, T frames of a clip, L predicted frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray

from moso.config import check_choices
from moso.errors import ConfigError, DataError, StopRequested
from moso.evaluation.baselines import repeat_last
from moso.evaluation.joints import frame_changes, joint_jump, joints
from moso.evaluation.metrics import psnr, ssim, unit_range
from moso.evaluation.seeds import sampling_seed
from moso.frames.cache import FrameCache
from moso.frames.clips import Clip, Clips
from moso.progress import Progress
from moso.step import StopSignal
from moso.tasks.model import Model
from moso.transformer.config import SamplingConfig

METRICS = ("psnr", "ssim")
METHODS = ("prediction", "repeat_last")


@dataclass(frozen=True)
class RolloutConfig:
    """How far to predict, and on how much.

    Attributes:
        frames: L, frames to predict; more than a clip's T - K, or there is no joint to look at.
        episodes: how many episodes, the first of the split that are long enough; fewer where there are not so many.
        carry: what the next clip is told: "tokens" (the paper's) or "frames", decoded and encoded again.
        fade: spread what a joint jumps by over two frames (moso.tasks.rollout).
        shown: how many of them move on the page.
    """

    frames: int
    episodes: int = 32
    carry: Literal["tokens", "frames"] = "tokens"
    fade: bool = True
    shown: int = 2

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("frames", "episodes"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1")
        if self.shown < 0:
            raise ConfigError("shown", self.shown, "must be at least 0")


@dataclass(frozen=True)
class Rollout:
    """What was measured.

    Attributes:
        config: how.
        clips: the starts, in order.
        given_frames: K.
        clip_frames: T.
        values: metric -> method -> (N, L): PSNR in dB, SSIM as a fraction.
        changes: "prediction" and "truth" -> (N, L - 1), grey levels: mean absolute difference of predicted frame i + 1
            from predicted frame i. With config.fade also "unfaded": of the same prediction, joints left as they are.
        shown: videos of the first `config.shown` episodes, name -> uint8 (K + L, H, W, 3): truth, prediction.
    """

    config: RolloutConfig
    clips: Sequence[Clip]
    given_frames: int
    clip_frames: int
    values: dict[str, dict[str, NDArray[np.float64]]]
    changes: dict[str, NDArray[np.float64]]
    shown: Sequence[dict[str, UInt8[np.ndarray, "F H W 3"]]]

    @property
    def joints(self) -> list[int]:
        """Places in `changes` where a clip's last frame meets the next clip's first predicted one."""
        return joints(self.config.frames, self.clip_frames - self.given_frames)

    def summary(self) -> dict[str, Any]:
        """Plain data for metrics.json.

        joint_ratio: change at joints / change elsewhere; 1 means that a joint looks like any other place. The truth's
        own ratio stands beside it, since motion need not be even, and with fading that of the joints left as they are.
        """
        figures: dict[str, Any] = {
            method: {metric: float(self.values[metric][method].mean()) for metric in METRICS} for method in METHODS
        }
        for of in self.changes:
            jump = joint_jump(self.changes[of], self.joints)
            joint = {"change_at_joints": jump.at_joints, "change_elsewhere": jump.elsewhere, "joint_ratio": jump.ratio}
            figures[of] = {**figures.get(of, {}), **joint}
        how = {"frames": self.config.frames, "carry": self.config.carry, "fade": self.config.fade}
        return {**figures, **how, "episodes": len(self.clips)}


def roll_out(
    model: Model,
    cache: FrameCache,
    split: str,
    config: RolloutConfig,
    *,
    seed: int,
    sampling: SamplingConfig | None = None,
    stop: StopSignal | None = None,
) -> Rollout:
    """Roll the starts of episodes out and measure them.

    Args:
        model: any model of the frames' size.
        cache: the truth.
        split: whose episodes to take.
        config: how far and how many.
        seed: of the samples.
        sampling: settings in place of the model's own.
        stop: ends the work between two batches.

    Raises:
        ConfigError: no more frames asked for than one clip predicts.
        DataError: no episode of the split is long enough.
        StopRequested: `stop` was raised.
    """
    given, length = model.given_frames, config.frames
    if length <= model.predicted_frames:
        raise ConfigError(
            "rollout.frames",
            length,
            f"one clip predicts {model.predicted_frames} frames, so that no joint is left to look at",
            f"{model.predicted_frames + 1} or more would fit; null leaves the section out",
        )
    starts = _starts(cache, split, given + length)[: config.episodes]
    if not starts:
        longest = int(cache.episodes["frames"].max())
        raise DataError(
            f"no {split} episode has the {given + length} frames of a rollout (the longest of all has {longest}): "
            "lower evaluate.rollout.frames, or set evaluate.rollout to null"
        )
    clips = Clips(cache, starts, given + length)
    values = {m: {method: np.empty((len(starts), length)) for method in METHODS} for m in METRICS}
    names = ("prediction", "truth", "unfaded") if config.fade else ("prediction", "truth")
    changes = {name: np.empty((len(starts), length - 1)) for name in names}
    shown: list[dict[str, np.ndarray]] = []
    with Progress("rollout", len(starts), "episodes") as progress:
        for first in range(0, len(starts), model.batch):
            if stop:
                raise StopRequested("evaluate: stopped; nothing was written, run it again")
            rows = slice(first, min(first + model.batch, len(starts)))
            whole = clips.batch(range(rows.start, rows.stop)).numpy()
            seeds = [sampling_seed(seed, clip) for clip in starts[rows]]
            how: dict[str, Any] = {"carry": config.carry, "seed": seeds, "sampling": sampling}
            if config.fade:
                predicted, unfaded = model.rollout_faded_and_not(whole[:, :given], length, **how).swapaxes(0, 1)
                changes["unfaded"][rows] = frame_changes(unfaded)
            else:
                predicted = model.rollout(whole[:, :given], length, fade=False, **how)
            videos = {
                "prediction": predicted,
                "repeat_last": repeat_last(whole[:, :given], length),
            }
            truth = unit_range(torch.from_numpy(whole[:, given:]))
            for method, video in videos.items():
                frames = unit_range(torch.from_numpy(video))
                values["psnr"][method][rows] = psnr(frames, truth).numpy()
                values["ssim"][method][rows] = ssim(frames, truth).numpy()
            changes["prediction"][rows] = frame_changes(videos["prediction"])
            changes["truth"][rows] = frame_changes(whole[:, given:])
            for i in range(min(len(whole), config.shown - len(shown))):
                together = np.concatenate([whole[i, :given], videos["prediction"][i]])
                shown.append({"truth": whole[i], "prediction": together})
            progress.advance(len(whole))
    return Rollout(config, starts, given, model.clip_frames, values, changes, shown)


def _starts(cache: FrameCache, split: str, frames: int) -> list[Clip]:
    table = cache.episodes
    long_enough = table[(table["split"] == split) & (table["frames"] >= frames)]
    return [Clip(str(episode_id), 0) for episode_id in long_enough["episode_id"]]
