"""The Model facade: everything a trained MOSO can be asked for, in 8-bit frames.

    model = Model.load("models/sim_push")
    video = model.predict(frames, seed=3)      # uint8 (N, K, H, W, 3) -> uint8 (N, T-K, H, W, 3)

Work is done `batch` clips at a time, so memory is bounded whatever N is, and neither the batch nor the other clips in a
call change a clip's result. Later tasks (rollout, generate, interpolate, recombine) come as a file and a method each.

Frames that a caller hands in are annotated as plain arrays: `checks` refuses what does not fit, in words.

Legend: N clips, K given frames, T frames of a clip, H W pixels.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8

from moso.config import build
from moso.device import device_of
from moso.errors import ConfigError, FormatError, MismatchError, MosoError
from moso.provenance import digest_json, read_provenance
from moso.tasks import decompose as decomposing
from moso.tasks import encode as coding
from moso.tasks import predict as predicting
from moso.tasks import reconstruct as reconstructing
from moso.tasks.checks import InputError, check_frames, check_tokens, seeds_of
from moso.tokens.clip_tokens import COMPONENTS, ClipTokens
from moso.tokens.store import codebook_digest
from moso.transformer.config import SamplingConfig
from moso.transformer.model import MosoTransformer, load_transformer
from moso.vqvae.model import VQVAE, load_vqvae

RESOLVERS = "moso.model_resolvers"
BATCH = 16
P = ParamSpec("P")
R = TypeVar("R")


def _inference(function: Callable[P, R]) -> Callable[P, R]:
    """Without gradients; a wrapper of our own because torch's loses the function's type."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode():
            return function(*args, **kwargs)

    return wrapped


class Model:
    """A trained VQVAE and transformer that belong together.

    Attributes:
        vqvae: Stage I, in evaluation mode.
        transformer: Stage II, in evaluation mode.
        sampling: the model's own sampling settings, used where a call gives none.
        device: where it runs.
        digest: sha256 over the digests of both parts: the model's identity.
        batch: clips worked on at a time.
    """

    def __init__(
        self,
        vqvae: VQVAE,
        transformer: MosoTransformer,
        *,
        sampling: SamplingConfig | None = None,
        digest: str = "",
        device: str | torch.device = "auto",
        batch: int = BATCH,
    ) -> None:
        """Put two parts together.

        Raises:
            MismatchError: the transformer was trained on tokens of another codebook or other grids.
            ConfigError: `batch` below 1.
        """
        found = codebook_digest(vqvae.codebook)
        if transformer.codebook_digest != found:
            raise MismatchError(
                f"the transformer was trained on tokens of codebook {transformer.codebook_digest[:12]}, this VQVAE's "
                f"is {found[:12]}: take the VQVAE it was trained with, or rerun extract_tokens and train_transformer"
            )
        if transformer.grids != vqvae.grids:
            raise MismatchError(f"token grids differ: the transformer's {transformer.grids}, the VQVAE's {vqvae.grids}")
        if batch < 1:
            raise ConfigError("batch", batch, "must be at least 1")
        self.device = device_of(device)
        self.vqvae = vqvae.to(self.device).eval()
        self.transformer = transformer.to(self.device).eval()
        self.sampling = sampling or SamplingConfig()
        self.digest = digest
        self.batch = batch

    @classmethod
    def load(cls, reference: str | Path, device: str = "auto") -> Model:
        """The model that a reference names.

        Args:
            reference: a folder with vqvae/ and transformer/, or an address such as "models:/moso-sim_push@champion",
                whose scheme an installed package knows (entry-point group moso.model_resolvers: each is called with
                the address and returns such a folder).
            device: "cpu", "cuda" …; "auto" takes a GPU where there is one.

        Raises:
            MosoError: no such folder, or no resolver for the address.
            FormatError: a part that moso did not write, or of another version.
        """
        folder = _resolve(str(reference)) if _scheme(reference) else Path(reference)
        for part in ("vqvae", "transformer"):
            if not (folder / part).is_dir():
                raise MosoError(f"{folder}: no folder {part}/ in it; a model is a folder with vqvae/ and transformer/")
        return cls.from_parts(folder / "vqvae", folder / "transformer", device)

    @classmethod
    def from_parts(cls, vqvae_folder: str | Path, transformer_folder: str | Path, device: str = "auto") -> Model:
        """The model made of the output folders of train_vqvae and train_transformer.

        Raises:
            FormatError: a folder that moso did not write, or of another version.
            MismatchError: folders that do not belong together.
        """
        stage_one, stage_two, target = Path(vqvae_folder), Path(transformer_folder), device_of(device)
        parts = {
            "vqvae": read_provenance(stage_one, format="moso.vqvae", version=1)["digest"],
            "transformer": read_provenance(stage_two, format="moso.transformer", version=1)["digest"],
        }
        return cls(
            load_vqvae(stage_one, target),
            load_transformer(stage_two, target),
            sampling=_sampling(stage_two),
            digest=digest_json(parts),
            device=target,
        )

    @property
    def given_frames(self) -> int:
        """K, the frames that `predict` takes."""
        return self.transformer.given_frames

    @property
    def clip_frames(self) -> int:
        """T, given and predicted frames together."""
        return self.vqvae.grids.frames

    @property
    def predicted_frames(self) -> int:
        """T - K."""
        return self.clip_frames - self.given_frames

    @property
    def height(self) -> int:
        """Of a frame, in pixels."""
        return self.vqvae.config.height

    @property
    def width(self) -> int:
        """Of a frame, in pixels."""
        return self.vqvae.config.width

    @_inference
    def predict(
        self,
        frames: np.ndarray,
        *,
        seed: int | Sequence[int] = 0,
        sampling: SamplingConfig | None = None,
    ) -> UInt8[np.ndarray, "N P H W 3"]:
        """One sample of the frames that follow.

        Args:
            frames: the given frames, uint8 [0, 255] (N, K, H, W, 3).
            seed: one number for all clips (so that a clip's video does not depend on its company), or one a clip.
            sampling: settings in place of the model's own.

        Returns:
            The T - K predicted frames, uint8 [0, 255].

        Raises:
            InputError: frames or seeds that do not fit; the message says what does.
        """
        self._check(frames, self.given_frames)
        seeds = seeds_of(seed, len(frames))
        result = self._empty(len(frames), self.predicted_frames)
        for rows in self._chunks(len(frames)):
            result[rows] = predicting.predict(
                self.vqvae,
                self.transformer,
                frames[rows],
                seeds=seeds[rows],
                sampling=sampling or self.sampling,
                device=self.device,
            )
        return result

    @_inference
    def encode(self, frames: np.ndarray) -> ClipTokens:
        """Tokens of whole clips uint8 [0, 255] (N, T, H, W, 3), on the CPU; inverse (with a loss) of `decode`.

        Raises:
            InputError: frames that do not fit.
        """
        self._check(frames, self.clip_frames)
        chunks = self._chunks(len(frames))
        return ClipTokens.concatenate([coding.encode(self.vqvae, frames[rows], self.device) for rows in chunks])

    @_inference
    def decode(
        self, tokens: ClipTokens, frames: Sequence[int] | None = None, *, only: Collection[str] | None = None
    ) -> UInt8[np.ndarray, "N n H W 3"]:
        """Frames of tokens.

        Args:
            tokens: of N clips.
            frames: which frames to draw, from 0; all T when None. The decoder is blind to time: each costs the same.
            only: components to draw ("scene", "object", "motion"); the others are zeros (Sec. C.3).

        Raises:
            InputError: tokens of other grids or outside the codebook, or no such frame.
        """
        check_tokens(tokens, self.vqvae.grids, len(self.vqvae.codebook))
        wanted = list(range(self.clip_frames) if frames is None else frames)
        if not wanted or min(wanted) < 0 or max(wanted) >= self.clip_frames:
            raise InputError(f"frames: expected numbers from 0 to {self.clip_frames - 1}, got {wanted}")
        result = self._empty(len(tokens.scene), len(wanted))
        for rows in self._chunks(len(result)):
            result[rows] = coding.decode(self.vqvae, tokens[rows], self.device, wanted, only)
        return result

    @_inference
    def reconstruct(self, frames: np.ndarray) -> UInt8[np.ndarray, "N T H W 3"]:
        """The clips, uint8 (N, T, H, W, 3), as their tokens tell them: what a perfect Stage II would draw.

        Raises:
            InputError: frames that do not fit.
        """
        self._check(frames, self.clip_frames)
        result = self._empty(len(frames), self.clip_frames)
        for rows in self._chunks(len(frames)):
            result[rows] = reconstructing.reconstruct(self.vqvae, frames[rows], self.device)
        return result

    @_inference
    def decompose(self, frames: np.ndarray) -> dict[str, UInt8[np.ndarray, "N T H W 3"]]:
        """Component -> the clips as the decoder draws that component alone: "scene", "object", "motion".

        Raises:
            InputError: frames that do not fit.
        """
        self._check(frames, self.clip_frames)
        result = {component: self._empty(len(frames), self.clip_frames) for component in COMPONENTS}
        for rows in self._chunks(len(frames)):
            for component, video in decomposing.decompose(self.vqvae, frames[rows], self.device).items():
                result[component][rows] = video
        return result

    def _check(self, frames: Any, count: int) -> None:
        check_frames(frames, frames_expected=count, height=self.height, width=self.width)

    def _chunks(self, clips: int) -> Iterator[slice]:
        return (slice(first, min(first + self.batch, clips)) for first in range(0, clips, self.batch))

    def _empty(self, clips: int, frames: int) -> np.ndarray:
        return np.empty((clips, frames, self.height, self.width, 3), dtype=np.uint8)


def _scheme(reference: str | Path) -> str:
    head, separator, _ = str(reference).partition(":/")
    return head if separator and isinstance(reference, str) and head.isidentifier() else ""


def _resolve(address: str) -> Path:
    scheme = _scheme(address)
    known = {point.name: point for point in entry_points(group=RESOLVERS)}
    if scheme not in known:
        listed = ", ".join(sorted(known)) or "none is installed"
        raise MosoError(f"{address}: nothing here knows the scheme {scheme!r} (known: {listed}); give a folder instead")
    return Path(known[scheme].load()(address))


def _sampling(transformer_folder: Path) -> SamplingConfig:
    path = transformer_folder / "sampling.json"
    if not path.exists():
        raise FormatError(f"{path} is missing; rerun train_transformer, which writes it")
    return build(SamplingConfig, json.loads(path.read_text()), at="sampling.json")
