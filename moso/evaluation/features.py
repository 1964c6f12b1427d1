"""Feature networks of the Fréchet distances: I3D for FVD, Inception-v3 for FID, published weights or none.

TorchScript runs code, so the I3D is opened only after its sha256 was compared (moso.pretrained.path_of). A file that is
missing leaves its metric out (`not_computed` says what to do); nothing stands in for it.

Legend: B batch, T frames, C channels, H W pixels, D features.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Protocol as Interface

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from moso import pretrained
from moso.errors import ConfigError, DataError
from moso.evaluation.inception import DIMENSION, inception_of
from moso.evaluation.protocol import NotComputed
from moso.pretrained import PretrainedFile

NETWORK_OF = {
    "fvd": "i3d",
    "fid": "inception",
    "lpips_alex": "alexnet",
    "lpips_vgg": "vgg16",
    "lpips_squeeze": "squeezenet",
}
"""Metric -> its file's name in moso.pretrained."""
CONVENTIONS = {
    "fvd": "Fréchet distance of I3D's 400 logits (StyleGAN-V's TorchScript, its resize); covariances over N; by video",
    "fid": "Fréchet distance of Inception-v3's pool3, TensorFlow 1's resize to 299; covariances over N - 1; by frame",
}
DDOF = {"fvd": 0, "fid": 1}
"""A covariance divides by N less this: StyleGAN-V's code for FVD, numpy.cov in FID's."""
I3D_MINIMUM_FRAMES = 10
"""The last pooling of I3D has nothing left of fewer (shared notes on the metrics: "about 10")."""


class FeatureNetwork(Interface):
    """What a Fréchet distance needs of a network.

    Attributes:
        name: its name in moso.pretrained.
        sha256: of its file; part of the protocol.
        dimension: D.
        minimum_frames: frames that a video must have.
        by_frame: whether a frame, and not a video, is one row of features.
    """

    name: str
    sha256: str
    dimension: int
    minimum_frames: int
    by_frame: bool

    def __call__(self, videos: UInt8[Tensor, "B T H W 3"]) -> Float[Tensor, "n D"]:
        """float32 on the CPU; n is B, or B T where `by_frame`, videos after each other."""
        ...


class I3D:
    """I3D on Kinetics-400 as StyleGAN-V exports it: the 400 logits of a whole video."""

    name, dimension, minimum_frames, by_frame = "i3d", 400, I3D_MINIMUM_FRAMES, False

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        videos: int = 4,
        files: Mapping[str, PretrainedFile] | None = None,
    ) -> None:
        """Load the network.

        Args:
            videos: in one pass; bounds the memory (224 x 224 inside).
            files: another table than moso.pretrained.FILES, with another sha256: tests.

        Raises:
            WeightsError: the file is missing or another one; the message says how to get it.
            DataError: a verified file that is no TorchScript.
        """
        path = pretrained.path_of(self.name, files)
        self.sha256 = pretrained.known(self.name, files).sha256
        try:
            with warnings.catch_warnings():
                # TorchScript is deprecated in torch, but it is the form in which the network is published
                warnings.simplefilter("ignore", DeprecationWarning)
                network: nn.Module = torch.jit.load(str(path), map_location=device)
        except RuntimeError as error:
            raise DataError(f"{path} cannot be read as TorchScript: {error}") from error
        self.device, self.videos = torch.device(device), videos
        self.network = network.eval()

    @torch.no_grad()
    def __call__(self, videos: UInt8[Tensor, "B T H W 3"]) -> Float[Tensor, "B 400"]:
        """A row a video, float32 on the CPU.

        Args:
            videos: uint8 [0, 255]; of a prediction without the given frames.

        Raises:
            DataError: another form, fewer frames than 10, or features that are not finite or of another number.
        """
        _check(videos, self.name, self.minimum_frames)
        rows = [
            self.network(
                part.to(self.device).permute(0, 4, 1, 2, 3).float(), rescale=True, resize=True, return_features=True
            )
            for part in videos.split(self.videos)
        ]
        return _features(rows, len(videos), self.dimension, self.name)


class InceptionV3:
    """Inception-v3's pool3 of every frame (moso.evaluation.inception)."""

    name, dimension, minimum_frames, by_frame = "inception", DIMENSION, 1, True

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        frames: int = 16,
        files: Mapping[str, PretrainedFile] | None = None,
    ) -> None:
        """Load the network.

        Args:
            frames: in one pass; bounds the memory (299 x 299 inside).
            files: another table than moso.pretrained.FILES, with another sha256: tests.

        Raises:
            WeightsError: the file is missing or another one; the message says how to get it.
            DataError: a verified file that holds something else.
        """
        path = pretrained.path_of(self.name, files)
        self.sha256 = pretrained.known(self.name, files).sha256
        try:
            self.network = inception_of(pretrained.read_weights(path)).to(device)
        except (KeyError, RuntimeError) as error:
            raise DataError(f"{path} does not fit FID's Inception-v3: {error}") from error
        self.device, self.frames = torch.device(device), frames

    @torch.no_grad()
    def __call__(self, videos: UInt8[Tensor, "B T H W 3"]) -> Float[Tensor, "BT 2048"]:
        """A row a frame, videos after each other, float32 on the CPU.

        Args:
            videos: uint8 [0, 255].

        Raises:
            DataError: another form, or features that are not finite.
        """
        _check(videos, self.name, self.minimum_frames)
        parts = videos.flatten(0, 1).split(self.frames)
        rows = [self.network(part.to(self.device).permute(0, 3, 1, 2).float()) for part in parts]
        return _features(rows, videos.shape[0] * videos.shape[1], self.dimension, self.name)


def load_features(
    metric: str, device: torch.device | str = "cpu", *, files: Mapping[str, PretrainedFile] | None = None
) -> FeatureNetwork:
    """The network of "fvd" or "fid".

    Raises:
        ConfigError: another metric.
        WeightsError: its file is missing or another one.
    """
    if metric not in CONVENTIONS:
        raise ConfigError("metrics", metric, "no Fréchet distance", f"known: {', '.join(CONVENTIONS)}")
    return I3D(device, files=files) if metric == "fvd" else InceptionV3(device, files=files)


def not_computed(metric: str, frames: int | None = None) -> NotComputed | None:
    """Why `metric` cannot be computed here; None where it can. Reads a present file once, to verify it.

    Args:
        metric: "fvd", "fid", "lpips_alex" …; any other needs no network.
        frames: that a video counts with; None leaves the question of its length out.
    """
    if metric not in NETWORK_OF:
        return None
    name = NETWORK_OF[metric]
    entry, verified, command = pretrained.known(name), pretrained.is_verified(name), f"moso weights fetch {name}"
    if verified is None:
        return NotComputed(metric, f"file {entry.file} missing", command)
    if not verified:
        return NotComputed(metric, f"file {entry.file} is damaged or another one than the published", command)
    if metric == "fvd" and frames is not None and frames < I3D_MINIMUM_FRAMES:
        return NotComputed(metric, f"I3D needs at least {I3D_MINIMUM_FRAMES} frames, a video counts with {frames}", "")
    return None


def _check(videos: Tensor, name: str, frames: int) -> None:
    if videos.dtype != torch.uint8 or videos.ndim != 5 or videos.shape[-1] != 3 or not len(videos):
        raise DataError(f"{name} takes uint8 videos (B, T, H, W, 3), got {videos.dtype} {tuple(videos.shape)}")
    if videos.shape[1] < frames:
        raise DataError(f"{name} needs at least {frames} frames, got {videos.shape[1]}")


def _features(parts: list[Tensor], rows: int, dimension: int, name: str) -> Tensor:
    features = torch.cat(parts).float().cpu()
    if features.shape != (rows, dimension):
        raise DataError(f"{name} gave features of the shape {tuple(features.shape)}, expected ({rows}, {dimension})")
    if not bool(features.isfinite().all()):
        raise DataError(f"{name} gave features that are not finite")
    return features
