"""The Fréchet distance of two sets of features (FID, FVD), streaming: memory does not grow with the number of videos.

Each set is taken as a Gaussian; |mu1 - mu2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)) is the squared distance of two Gaussians
(Heusel et al. 2017, Eq. 6; Unterthiner et al. 2018, Eq. 3). Everything is float64: in float32 the difference of large
traces keeps few digits. Covariances divide by N - 1 as FID's published code does (numpy.cov), or by N as StyleGAN-V's
for FVD does (`ddof` 1 and 0): at 256 videos that moves an FVD by about 0.4%.

Legend: n features in one call, N features in all, D their dimension, S samples a video.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from moso.errors import DataError

Array = npt.NDArray[np.float64]
State = dict[str, npt.NDArray[Any]]


class Moments:
    """Running count, mean and covariance of features.

    Batches are joined by the update of Chan, Golub and LeVeque (1983): sums of squares around the mean, never raw
    second moments, which lose the digits of a covariance that is small beside its mean.

    Attributes:
        count: N so far.
        mean: float64 (D,).
        scatter: float64 (D, D), the sum of outer products around the mean.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean: Array = np.zeros(dimension)
        self.scatter: Array = np.zeros((dimension, dimension))

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.mean)

    def add(self, features: npt.ArrayLike) -> None:
        """Take further features in.

        Args:
            features: finite floats (n, D); none (n = 0) changes nothing.

        Raises:
            DataError: another shape, or a value that is not finite: one such would spoil the whole figure.
        """
        rows = checked(features, self.dimension)
        if len(rows):
            mean = rows.mean(axis=0)
            centred = rows - mean
            self._join(len(rows), mean, centred.T @ centred)

    def merge(self, other: Moments) -> None:
        """Take another set in; `other` stays as it is.

        Raises:
            DataError: another dimension.
        """
        if other.dimension != self.dimension:
            raise DataError(f"features of {other.dimension} and of {self.dimension} dimensions cannot be one set")
        if other.count:
            self._join(other.count, other.mean, other.scatter)

    def _join(self, count: int, mean: Array, scatter: Array) -> None:
        whole = self.count + count
        step = mean - self.mean
        self.scatter = self.scatter + scatter + np.outer(step, step) * (self.count * count / whole)
        self.mean = self.mean + step * (count / whole)
        self.count = whole

    def covariance(self, ddof: int = 1) -> Array:
        """float64 (D, D), divided by N - `ddof`.

        Raises:
            DataError: fewer than two features.
        """
        if self.count < 2:
            raise DataError(f"a covariance needs at least 2 features, there are {self.count}")
        return self.scatter / (self.count - ddof)

    def state(self) -> State:
        """Everything, as arrays; `from_state` goes on from there to the bit."""
        return {"count": np.array(self.count), "mean": self.mean.copy(), "scatter": self.scatter.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> Moments:
        """What `state` was taken of."""
        moments = cls(len(state["mean"]))
        moments.count = int(state["count"])
        moments.mean, moments.scatter = np.array(state["mean"]), np.array(state["scatter"])
        return moments


def checked(features: npt.ArrayLike, dimension: int) -> Array:
    """Features as float64 (n, D).

    Raises:
        DataError: another shape, or a value that is not finite.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise DataError(f"features have the shape {rows.shape}, expected (n, {dimension})")
    if not np.isfinite(rows).all():
        raise DataError("a feature is not finite: the network or its input is broken")
    return rows


def frechet_distance(a: Moments, b: Moments, ddof: int = 1) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)), at least 0; covariances divide by N - `ddof`.

    The eigenvalues of S1 S2 are those of the symmetric, positive A' S2 A with S1 = A A', so that the trace of the root
    is a sum of roots of real numbers: no imaginary part to drop, and singular covariances (N <= D) need no jitter.

    Raises:
        DataError: fewer than two features on a side, or different dimensions.
    """
    if a.dimension != b.dimension:
        raise DataError(f"features of {a.dimension} and of {b.dimension} dimensions have no distance")
    first, second = a.covariance(ddof), b.covariance(ddof)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values.clip(min=0))
    shared = np.sqrt(np.linalg.eigvalsh(root.T @ second @ root).clip(min=0)).sum()
    step = a.mean - b.mean
    return max(0.0, float(step @ step + np.trace(first) + np.trace(second) - 2 * shared))


class BatchedFrechet:
    """The mean distance over batches of videos: the best-of-100 protocols' FVD ("batches of 256, averaged").

    A batch is one sample each of `batch` videos beside the true ones of the same videos (or a reference that is given):
    a batch of many samples of few videos would measure their lack of variety instead. The features of one batch of
    videos are held with all samples, 41 MB of 256 videos with 100 samples of 400 float32; no more ever is.

    Attributes:
        distances: number of distances in the mean.
        pending: videos of the batch that is not full; they are left out of `value`, for a smaller batch biases it
            upwards.
    """

    def __init__(
        self, dimension: int, samples: int, batch: int = 256, reference: Moments | None = None, ddof: int = 1
    ) -> None:
        self.batch, self.reference, self.ddof = batch, reference, ddof
        self.distances, self.pending, self.total = 0, 0, 0.0
        self.truth = np.zeros((batch, dimension), np.float32)
        self.drawn = np.zeros((batch, samples, dimension), np.float32)

    def add(self, drawn: npt.ArrayLike, truth: npt.ArrayLike) -> None:
        """Take one video in, in the order of the clips.

        Args:
            drawn: finite floats (S, D), the features of its samples.
            truth: finite floats (D,), those of the true video.

        Raises:
            DataError: another shape, or a value that is not finite.
        """
        _, samples, dimension = self.drawn.shape
        rows = checked(drawn, dimension)
        if len(rows) != samples:
            raise DataError(f"{len(rows)} samples of a video, expected {samples}")
        self.drawn[self.pending] = rows
        self.truth[self.pending] = checked(np.asarray(truth)[None], dimension)[0]
        self.pending += 1
        if self.pending == self.batch:
            reference = self.reference or moments_of(self.truth)
            for sample in range(samples):
                self.total += frechet_distance(moments_of(self.drawn[:, sample]), reference, self.ddof)
            self.distances += samples
            self.pending = 0

    def value(self) -> float:
        """The mean so far.

        Raises:
            DataError: not one batch is full.
        """
        if not self.distances:
            raise DataError(f"{self.pending} videos do not fill one batch of {self.batch}")
        return self.total / self.distances

    def state(self) -> State:
        """Everything but the reference, as arrays."""
        pending = slice(0, self.pending)
        numbers = {"distances": np.array(self.distances), "total": np.array(self.total)}
        return {**numbers, "truth": self.truth[pending].copy(), "drawn": self.drawn[pending].copy()}

    def restore_(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `state` gave; the object must have been made with the same arguments."""
        self.distances, self.total = int(state["distances"]), float(state["total"])
        self.pending = len(state["truth"])
        self.truth[: self.pending], self.drawn[: self.pending] = state["truth"], state["drawn"]


def moments_of(features: npt.ArrayLike) -> Moments:
    """The moments of one array of features (n, D)."""
    moments = Moments(np.asarray(features).shape[-1])
    moments.add(features)
    return moments
