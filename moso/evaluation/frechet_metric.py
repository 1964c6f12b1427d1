"""FVD and FID from kept features: over all samples, or averaged over batches of videos, with the number behind each.

Small samples bias a Fréchet distance upwards, so that a figure carries its numbers, and its extrapolated value where
there are enough videos for one. Features may be memory maps: a few clips are read at a time.

Legend: N clips, S samples, T frames, M videos of the reference, D features of a row, H W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from moso.errors import DataError
from moso.evaluation.extrapolation import GROUPS, GroupedMoments, extrapolated
from moso.evaluation.features import FeatureNetwork
from moso.evaluation.frechet import BatchedFrechet, frechet_distance, moments_of

CLIPS = 16
"""Clips whose features are read at once."""
AVERAGED = "a mean over batches"


@dataclass(frozen=True)
class FrechetFigure:
    """A Fréchet distance and what it rests on.

    Attributes:
        value: the distance, or the mean of the batches' distances.
        drawn: predicted videos (FID: frames) in it.
        reference: true videos (FID: frames) in it.
        left_out: predicted videos behind the last full batch.
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
    ddof: int = 1,
) -> FrechetFigure:
    """The distance of the samples' features to those of true videos.

    Args:
        drawn: of every sample; `features` is D, or T D of a network by frame.
        truth: of the same clips in the same order, or of the whole reference.
        dimension: D.
        batch: None for one distance over all samples; a number (256) for the mean over batches of so many videos, as
            the best-of-100 protocols take it: one sample each of so many clips; of fewer clips the samples follow each
            other (the first of every clip, the second, …), each beside its own clip.
        same_clips: whether a batch's reference are its own clips; otherwise all of `truth`.
        groups: of the extrapolation; 1 for none, where D is large (FID: 34 MB a group and side).
        ddof: covariances divide by N less this.

    Raises:
        DataError: features of another form, or fewer videos than one batch.
    """
    clips, samples = drawn.shape[:2]
    if same_clips and len(truth) != clips:
        raise DataError(f"{len(truth)} true videos beside {clips} clips: they are not the same clips")
    if batch is None:
        return distance_of(_moments(drawn, dimension, groups), _moments(truth, dimension, groups), ddof)
    if drawn.shape[2] != dimension:
        raise DataError(f"batches of videos take {dimension} features a video, got {drawn.shape[2]}")
    if same_clips and clips < batch:
        return _across_samples(drawn, truth, batch, ddof)
    reference = None if same_clips else _moments(truth, dimension, 1).whole()
    batched = BatchedFrechet(dimension, samples, batch, reference, ddof)
    for clip in range(clips):
        batched.add(drawn[clip], truth[clip] if same_clips else np.zeros(dimension))
    counted = clips - batched.pending
    number = counted if reference is None else reference.count
    return FrechetFigure(batched.value(), counted * samples, number, batched.pending * samples, None, AVERAGED)


def distance_of(ours: GroupedMoments, true: GroupedMoments, ddof: int = 1) -> FrechetFigure:
    """One distance between two whole sets, extrapolated where they are in groups and large enough.

    Raises:
        DataError: fewer than two features on a side, or different dimensions.
    """
    one, other = ours.whole(), true.whole()
    figure = FrechetFigure(frechet_distance(one, other, ddof), one.count, other.count)
    if len(ours.groups) == 1:
        reason = f"{one.dimension} dimensions: its parts would take too much memory"
        return dataclasses.replace(figure, reason=reason)
    try:
        return dataclasses.replace(figure, extrapolated=extrapolated(ours, true, ddof).value)
    except DataError as error:
        return dataclasses.replace(figure, reason=str(error))


def _across_samples(drawn: np.ndarray, truth: np.ndarray, batch: int, ddof: int) -> FrechetFigure:
    clips, samples = drawn.shape[:2]
    if clips * samples < batch:
        raise DataError(f"{clips * samples} videos do not fill one batch of {batch}")
    distances = []
    for first in range(0, clips * samples - batch + 1, batch):
        sample, clip = np.divmod(np.arange(first, first + batch), clips)
        ours, true = moments_of(drawn[clip, sample]), moments_of(truth[clip])
        distances.append(frechet_distance(ours, true, ddof))
    left = clips * samples % batch
    return FrechetFigure(float(np.mean(distances)), clips * samples - left, clips, left, None, AVERAGED)


def _moments(features: np.ndarray, dimension: int, groups: int) -> GroupedMoments:
    grouped = GroupedMoments(dimension, groups)
    for first in range(0, len(features), CLIPS):
        add_videos_(grouped, np.asarray(features[first : first + CLIPS]), first)
    return grouped


def add_videos_(grouped: GroupedMoments, features: np.ndarray, first: int) -> None:
    """Add the features of videos `first`, `first` + 1, …: all samples and frames of a video lie in one group.

    They are no independent draws, so that a part of the set must hold all of them or none.

    Args:
        grouped: is added to.
        features: (n, …, D) or (n, …, T D) of a network by frame.
        first: number of the first video in its set.

    Raises:
        DataError: features that are no multiple of D.
    """
    dimension = grouped.groups[0].dimension
    if features.shape[-1] % dimension:
        raise DataError(f"{features.shape[-1]} features a video are no multiple of {dimension}")
    rows = features.reshape(-1, dimension)
    numbers = np.arange(first, first + len(features)).repeat(len(rows) // max(1, len(features)))
    grouped.add(rows, numbers)
