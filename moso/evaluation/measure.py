"""One evaluation: a model, a cache of frames and a protocol -> every figure that the protocol asks for.

Legend: N clips, S samples a clip, P scored frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moso.config import to_dict
from moso.errors import DataError
from moso.evaluation.asked import require_sizes
from moso.evaluation.comparison import Comparison, compare, score_methods, select_clips
from moso.evaluation.features import DDOF
from moso.evaluation.frechet_metric import FrechetFigure, frechet_figure, video_features
from moso.evaluation.measures import Measures, conventions, measures_of, networks_of
from moso.evaluation.pixels import resize_in_words
from moso.evaluation.protocol import NotComputed, Protocol, clips_digest
from moso.evaluation.protocol_file import ProtocolFile
from moso.evaluation.task import Task, task_of
from moso.evaluation.trials import Trials, run_trials
from moso.evaluation.windows import in_words
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, mean_image
from moso.step import StopSignal
from moso.tasks.model import Model
from moso.transformer.config import SamplingConfig


@dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        protocol: what was measured, exactly.
        task: what was drawn.
        clips: the truth.
        comparison: figures by clip, method and frame.
        trials: figures of every sample, and of one sample a clip the videos.
        frechet: "fvd", "fid" where computed.
        not_computed: what is missing and why.
    """

    protocol: Protocol
    task: Task
    clips: Clips
    comparison: Comparison
    trials: Trials
    frechet: Mapping[str, FrechetFigure]
    not_computed: Sequence[NotComputed]


def measure(
    model: Model,
    cache: FrameCache,
    asked: ProtocolFile,
    *,
    work: Path,
    sampling: SamplingConfig | None = None,
    min_clips: int = 1,
    min_episodes: int = 1,
    stop: StopSignal | None = None,
) -> Measured:
    """Measure a model on clips; what was drawn is kept in `work`, so that a run that was killed goes on.

    Args:
        model: of the protocol's size.
        cache: the truth.
        asked: prediction, interpolation or reconstruction.
        work: folder of this run alone.
        sampling: settings in place of the model's own.
        min_clips, min_episodes: refuse fewer.
        stop: ends the work between two batches.

    Raises:
        ConfigError: a protocol that does not fit the model.
        DataError: too few clips, or too few for a batch of the FVD.
        StopRequested: `stop` was raised; what was drawn is kept.
    """
    require_sizes(asked, model.given_frames, model.clip_frames, model.height, model.width)
    task = task_of(model, asked, sampling, lambda: mean_image(cache, "train"))
    chosen = select_clips(
        cache,
        asked.split,
        task.clip_frames,
        windows=asked.windows,
        videos=asked.videos,
        min_clips=min_clips,
        min_episodes=min_episodes,
    )
    clips = Clips(cache, chosen, task.clip_frames)
    protocol = realised(asked, cache, clips, predicted_frames=len(task.scored))
    measures = measures_of(asked.metrics, len(task.scored), model.device)
    if not measures.scores:
        missing = "; ".join(f"{entry.metric}: {entry.reason}" for entry in measures.not_computed)
        raise DataError(
            f"the protocol {asked.name or asked.title} asks for no figure of single clips that can be computed here"
            + (f" ({missing})" if missing else "")
            + ": add psnr and ssim to evaluate.protocol.metrics"
        )
    trials = run_trials(
        task.draw,
        clips,
        task.scored,
        samples=asked.samples_per_video,
        seed=asked.seed,
        scores=measures.scores,
        features={name: video_features(network) for name, network in measures.networks.items()},
        work=work,
        identity=identity_of(model, protocol, sampling),
        batch=model.batch,
        keep_videos=asked.samples_per_video == 1,
        stop=stop,
    )
    others = score_methods(task, clips, measures.scores, batch=model.batch, stop=stop)
    comparison = compare(task, clips, trials, others, best_of=asked.best_of)
    frechet, unmet = _frechet(measures, trials, asked)
    return Measured(protocol, task, clips, comparison, trials, frechet, (*measures.not_computed, *unmet))


def identity_of(model: Model, protocol: Protocol, sampling: SamplingConfig | None) -> dict[str, Any]:
    """What kept figures depend on: figures of another identity are never gone on with."""
    return {
        "model": model.digest,
        "protocol": protocol.digest,
        "sampling": to_dict(sampling or model.sampling),
        # sums run in another order elsewhere, and a token may flip: two machines are two runs
        "machine": f"{model.device} torch {torch.__version__}",
    }


def realised(asked: ProtocolFile, cache: FrameCache, clips: Clips, *, predicted_frames: int) -> Protocol:
    """The protocol that a run really had: the asked one, with the clips and splits that were there."""
    return Protocol(
        data_set=asked.data_set,
        split=asked.split,
        splits=cache.data.get("splits", {}),
        clips_digest=clips_digest(
            (clip.id for clip in clips.clips), (clips.batch([i]).numpy()[0] for i in range(len(clips)))
        ),
        clips=len(clips),
        episodes=len({clip.episode_id for clip in clips.clips}),
        clip_rule=in_words(asked.windows, clips.clip_frames),
        height=cache.height,
        width=cache.width,
        given_frames=asked.given_frames,
        clip_frames=asked.clip_frames,
        predicted_frames=predicted_frames,
        given_frames_count=asked.given_frames_count,
        samples_per_video=asked.samples_per_video,
        seed=asked.seed,
        task=asked.task,
        best_of=asked.best_of,
        carry=asked.carry,
        fade=asked.fade and asked.rolls_out,
        fvd=to_dict(asked.fvd) if "fvd" in asked.metrics else {},
        videos_drawn=asked.videos if asked.task == "unconditional" else None,
        resize=resize_in_words(cache.data) or asked.resize,
        metrics=conventions(asked.metrics),
        networks=networks_of(asked.metrics),
    )


def _frechet(
    measures: Measures, trials: Trials, asked: ProtocolFile
) -> tuple[dict[str, FrechetFigure], list[NotComputed]]:
    found: dict[str, FrechetFigure] = {}
    unmet: list[NotComputed] = []
    for metric, network in measures.networks.items():
        how: dict[str, Any] = {"groups": 1} if network.by_frame else {}
        by_batch = asked.fvd.batch if metric == "fvd" else None
        try:
            found[metric] = frechet_figure(
                trials.features[metric],
                trials.true_features[metric],
                network.dimension,
                batch=by_batch,
                ddof=DDOF[metric],
                **how,
            )
        except DataError as error:
            unmet.append(NotComputed(metric, str(error), ""))
    return found, unmet
