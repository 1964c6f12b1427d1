"""FVD and FID from kept features: over all samples, or averaged over batches of videos, with the number behind each.

Small samples bias a Fréchet distance upwards, so that a figure carries its numbers, and its extrapolated value where
there are enough videos for one. Features may be memory maps: a few clips are read at a time.

Legend: N clips, S samples, T frames, M videos of the reference, D features of a row, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from moso.errors import DataError
from moso.evaluation.extrapolation import GROUPS, GroupedMoments, extrapolated
from moso.evaluation.features import FeatureNetwork
from moso.evaluation.frechet import BatchedFrechet, frechet_distance

CLIPS = 16
"""Clips whose features are read at once."""


@dataclass(frozen=True)
class FrechetFigure:
    """A Fréchet distance and what it rests on.

    Attributes:
        value: the distance, or the mean of the batches' distances.
        drawn: predicted videos (FID: frames) in it.
        reference: true videos (FID: frames) in it.
        left_out: clips behind the last full batch.
        extrapolated: at infinitely many videos; None where there is none.
        reason: why there is none.
    """

    value: float
    drawn: int
    reference: int
    left_out: int = 0
    extrapolated: float | None = None
    reason: str = ""


def video_features(
    network: FeatureNetwork,
) -> Callable[[UInt8[np.ndarray, "B T H W 3"]], Float[np.ndarray, "B features"]]:
    """A network as moso.evaluation.trials calls it: a row a video; a network by frame gives T rows joined to one."""

    def features(videos: np.ndarray) -> np.ndarray:
        rows = network(torch.from_numpy(np.ascontiguousarray(videos))).numpy()
        return rows.reshape(len(videos), -1)

    return features


def frechet_figure(
    drawn: Float[np.ndarray, "N S features"],
    truth: Float[np.ndarray, "M features"],
    dimension: int,
    *,
    batch: int | None = None,
    same_clips: bool = True,
    groups: int = GROUPS,
) -> FrechetFigure:
    """The distance of the samples' features to those of true videos.

    Args:
        drawn: of every sample; `features` is D, or T D of a network by frame.
        truth: of the same clips in the same order, or of the whole reference.
        dimension: D.
        batch: None for one distance over all samples; a number (256) for the mean over batches of one sample each of so
            many clips, as the best-of-100 protocols take it.
        same_clips: whether a batch's reference are its own clips; otherwise all of `truth`.
        groups: of the extrapolation; 1 for none, where D is large (FID: 34 MB a group and side).

    Raises:
        DataError: features of another form, or fewer clips than one batch.
    """
    clips, samples = drawn.shape[:2]
    if same_clips and len(truth) != clips:
        raise DataError(f"{len(truth)} true videos beside {clips} clips: they are not the same clips")
    if batch is not None:
        if drawn.shape[2] != dimension:
            raise DataError(f"batches of videos take {dimension} features a video, got {drawn.shape[2]}")
        reference = None if same_clips else _moments(truth, dimension, 1).whole()
        batched = BatchedFrechet(dimension, samples, batch, reference)
        for clip in range(clips):
            batched.add(drawn[clip], truth[clip] if same_clips else np.zeros(dimension))
        counted = clips - batched.pending
        number = counted if reference is None else reference.count
        return FrechetFigure(batched.value(), counted * samples, number, batched.pending, None, "a mean over batches")
    ours, true = _moments(drawn, dimension, groups), _moments(truth, dimension, groups)
    one, other = ours.whole(), true.whole()
    figure = FrechetFigure(frechet_distance(one, other), one.count, other.count)
    try:
        end = extrapolated(ours, true).value
    except DataError as error:
        return FrechetFigure(figure.value, figure.drawn, figure.reference, 0, None, str(error))
    return FrechetFigure(figure.value, figure.drawn, figure.reference, 0, end)


def _moments(features: np.ndarray, dimension: int, groups: int) -> GroupedMoments:
    """By groups of clips: all samples and frames of a clip lie in one, for they are no independent draws."""
    grouped = GroupedMoments(dimension, groups)
    for first in range(0, len(features), CLIPS):
        part = np.asarray(features[first : first + CLIPS])
        if part.shape[-1] % dimension:
            raise DataError(f"{part.shape[-1]} features a video are no multiple of {dimension}")
        rows = part.reshape(-1, dimension)
        numbers = np.arange(first, first + len(part)).repeat(len(rows) // len(part))
        grouped.add(rows, numbers)
    return grouped
