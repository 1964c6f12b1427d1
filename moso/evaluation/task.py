"""What is measured: which frames of a clip a model draws, from what, and what they are held against.

Prediction (beyond the model's clip it is rolled out), interpolation of every second frame, reconstruction. Each is a
`Task`: the frames that are scored, a way to draw them, and the methods that they are compared with on the same clips.

Legend: N clips, F frames of an evaluated clip, T frames of the model's, K given frames, P scored frames, S samples, H W
pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from moso.errors import ConfigError
from moso.evaluation.baselines import hedge, linear, mean_given, repeat_last
from moso.evaluation.ceiling import ceiling, motion_frozen, windowed
from moso.evaluation.protocol_file import ProtocolFile
from moso.evaluation.trials import Draw
from moso.tasks.interpolate import fill_frames
from moso.tasks.model import Model
from moso.transformer.config import SamplingConfig

Method = Callable[[UInt8[np.ndarray, "N F H W 3"]], UInt8[np.ndarray, "N P H W 3"]]
"""Whole clips -> what a method says their scored frames are."""
MeanImage = Callable[[], Float[np.ndarray, "H W 3"]]
"""Gives the mean of the training frames, [0, 255]."""


@dataclass(frozen=True)
class Task:
    """What is drawn and what it is held against.

    Attributes:
        main: name of what is measured: "prediction", "interpolation", "reconstruction".
        clip_frames: F.
        given: numbers, from 0, of the frames that are given.
        scored: numbers, from 0, of the frames that are scored.
        draw: draws them.
        baselines: name -> method that `main` is compared with.
        bounds: functions that give several methods at once, none of them a rival: the ceiling, the frozen motion.
    """

    main: str
    clip_frames: int
    given: Sequence[int]
    scored: Sequence[int]
    draw: Draw
    baselines: Mapping[str, Method] = field(default_factory=dict)
    bounds: Callable[[np.ndarray], Mapping[str, np.ndarray]] = lambda whole: {}


def task_of(
    model: Model,
    asked: ProtocolFile,
    sampling: SamplingConfig | None,
    mean_image: MeanImage,
) -> Task:
    """The task that a protocol asks of a model.

    Args:
        model: draws.
        asked: the protocol, of the model's sizes (moso.evaluation.asked.require_sizes).
        sampling: settings in place of the model's own.
        mean_image: gives that of the training frames, [0, 255]; asked for the hedge alone.

    Raises:
        ConfigError: an unconditional protocol, which has no clips to be held against (moso.evaluation.generation).
    """
    makers = {"prediction": _prediction, "interpolation": _interpolation, "reconstruction": _reconstruction}
    if asked.task not in makers:
        raise ConfigError("evaluate.protocol.task", asked.task, "has no clips to be held against")
    return makers[asked.task](model, asked, sampling, mean_image)


def _prediction(model: Model, asked: ProtocolFile, sampling: SamplingConfig | None, mean_image: MeanImage) -> Task:
    known, length = model.given_frames, asked.predicted_frames
    scored = range(0 if asked.given_frames_count else known, known + length)

    def with_given(whole: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """(N, …, P, H, W, 3) with the given frames before them where they count."""
        if not asked.given_frames_count:
            return videos
        given = whole[:, :known].reshape(len(whole), *[1] * (videos.ndim - 5), known, *whole.shape[2:])
        return np.concatenate([np.broadcast_to(given, (*videos.shape[:-4], *given.shape[-4:])), videos], axis=-4)

    def draw(whole: np.ndarray, seeds: Sequence[int], samples: int) -> Iterator[tuple[slice, np.ndarray]]:
        how: dict[str, Any] = {"fade": asked.fade, "seed": seeds, "sampling": sampling}
        for part, videos in model.trials(whole[:, :known], samples, length, **how):
            yield part, with_given(whole, videos)

    rules: dict[str, Callable[[np.ndarray], np.ndarray]] = {"repeat_last": lambda given: repeat_last(given, length)}
    if known > 1:  # of one frame the mean is the frame, and there is no line through it
        rules["mean_given"] = lambda given: mean_given(given, length)
        rules["linear"] = lambda given: linear(given, length)
    mean = mean_image()
    rules["hedge"] = lambda given: hedge(given, length, mean)
    baselines: dict[str, Method] = {
        name: lambda whole, rule=rule: with_given(whole, rule(whole[:, :known]))  # type: ignore[misc]
        for name, rule in rules.items()
    }
    frames = max(known + length, model.clip_frames)
    return Task("prediction", frames, range(known), scored, draw, baselines, _bounds(model, scored))


def _interpolation(model: Model, asked: ProtocolFile, sampling: SamplingConfig | None, _: MeanImage) -> Task:
    given = range(0, model.clip_frames, 2)
    if (len(given), model.clip_frames - len(given)) != (asked.given_frames, asked.predicted_frames):
        raise ConfigError(
            "evaluate.protocol.given_frames",
            asked.given_frames,
            f"every second of {model.clip_frames} frames is given: {len(given)}",
            f"predicted_frames are the other {model.clip_frames - len(given)}",
        )
    scored = [t for t in range(model.clip_frames) if t not in given]

    def draw(whole: np.ndarray, seeds: Sequence[int], samples: int) -> Iterator[tuple[slice, np.ndarray]]:
        for sample in range(samples):
            each = [seed + sample for seed in seeds]
            videos = model.interpolate(whole, given, seed=each, sampling=sampling)
            yield slice(sample, sample + 1), videos[:, None, scored]

    baselines: dict[str, Method] = {
        "hold": lambda whole: fill_frames(whole, given, "hold")[:, scored],
        "blend": lambda whole: fill_frames(whole, given, "blend")[:, scored],
    }
    return Task("interpolation", model.clip_frames, given, scored, draw, baselines, _bounds(model, scored))


def _reconstruction(model: Model, asked: ProtocolFile, sampling: SamplingConfig | None, _: MeanImage) -> Task:
    scored = range(asked.predicted_frames)

    def draw(whole: np.ndarray, seeds: Sequence[int], samples: int) -> Iterator[tuple[slice, np.ndarray]]:
        yield slice(0, 1), model.decode(model.encode(whole), scored)[:, None]

    def frozen(whole: np.ndarray) -> dict[str, np.ndarray]:
        return windowed(model, whole, scored, {"motion_frozen": motion_frozen(model)})

    return Task("reconstruction", model.clip_frames, [], scored, draw, bounds=frozen)


def _bounds(model: Model, scored: Sequence[int]) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    return lambda whole: ceiling(model, whole, scored)
