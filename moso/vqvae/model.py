"""MOSO-VQVAE: encoders, the codebook and the decoder as one module, and its folder on disk.

B batch, T frames of a clip, n some frames of it, C channels, H W pixels, h w token grid (each component has its
own), D code dimension, N codebook size, V vectors of a clip. A component that the decomposition does not have has the
grid (0, 0): its features (B, D, 0, 0) and tokens (B, 0, 0) go along empty, and no network reads them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moso.config import build
from moso.errors import ConfigError, FormatError
from moso.provenance import write_json
from moso.tokens.clip_tokens import ABSENT, ClipTokens, TokenGrids
from moso.vqvae.config import VQVAEConfig
from moso.vqvae.decoder import Decoder
from moso.vqvae.decompose import Decomposition, difference, pseudo_clip
from moso.vqvae.encoders import MotionEncoder, StillEncoder
from moso.vqvae.quantizer import Quantizer

FORMAT, VERSION = "moso.vqvae", 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Features(NamedTuple):
    """A grid of vectors a component: features before quantisation, codes after it."""

    scene: Float[Tensor, "B D hs ws"]
    object: Float[Tensor, "B D ho wo"]
    motion: Float[Tensor, "B n D hm wm"]

    def rows(self) -> Float[Tensor, "B V D"]:
        """All vectors of each clip: scene's, object's, then motion's frame by frame."""
        return torch.cat([value.movedim(-3, -1).flatten(1, -2) for value in self], dim=1)


class Quantized(NamedTuple):
    """Features after quantisation.

    Attributes:
        codes: codebook[tokens]; gradients pass straight through to the features.
        tokens: int64 in [0, N).
        commitment: || z - sg(z_q) ||^2, mean over a component's elements, summed over those there are
            (Eq. 9).
        vectors, found: all features of each clip and their tokens side by side, without gradients, for the
            codebook's statistics.
    """

    codes: Features
    tokens: ClipTokens
    commitment: Float[Tensor, ""]
    vectors: Float[Tensor, "B V D"]
    found: Int[Tensor, "B V"]


class StraightThrough(torch.autograd.Function):
    """The code going forward, the gradient to the feature going back: z + sg(z_q - z), without its rounding (codes
    stay the codebook's own bits)."""

    @staticmethod
    def forward(ctx: object, features: Tensor, codes: Tensor) -> Tensor:
        return codes.to(features.dtype)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class VQVAE(nn.Module):
    """Stage I. `config` decides its shape; `grids` are the sizes of its token grids."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.grids: TokenGrids = config.grids
        present = config.components
        self.scene_encoder = StillEncoder(config, config.scene_factor) if "scene" in present else None
        self.object_encoder = StillEncoder(config, config.object_factor) if "object" in present else None
        self.motion_encoder = MotionEncoder(config)
        self.quantizer = Quantizer(config.codebook_size, config.code_dimension, config.codebook_parts)
        self.decoder = Decoder(config)

    @property
    def codebook(self) -> Float[Tensor, "N D"]:
        """e_1 .. e_N, of all components."""
        return self.quantizer.codebook

    def videos(self, frames: Float[Tensor, "B T C H W"]) -> Decomposition:
        """What the encoders are given of raw frames: scene and object encoder the frames, the motion encoder their
        difference, or the frames too where nothing is decomposed (Sec. C.2)."""
        whole = self.config.decomposition == "none"
        return Decomposition(frames if whole else difference(frames), frames, frames)

    def features(
        self, scene: Float[Tensor, "B T C H W"], object: Float[Tensor, "B T C H W"], motion: Float[Tensor, "B n C H W"]
    ) -> Features:
        """What the encoders make of the three videos; of motion any whole pools, since nothing crosses them."""
        still = [
            self._absent(video) if encoder is None else encoder(video)
            for encoder, video in ((self.scene_encoder, scene), (self.object_encoder, object))
        ]
        return Features(still[0], still[1], self.motion_encoder(motion))

    def rows_of_parts(self, frames: int) -> list[slice]:
        """Which of a clip's vectors (`Features.rows`, of so many frames' motion) each part of the codebook is for."""
        still = [int(np.prod(self.grids.scene)), int(np.prod(self.grids.object))]
        sizes = [*still, frames * int(np.prod(self.grids.motion))]
        if self.config.codebook_parts == 1:
            return [slice(0, sum(sizes))]
        ends = np.cumsum([size for size in sizes if size]).tolist()
        return [slice(first, end) for first, end in pairwise([0, *ends])]

    def quantize(self, features: Features) -> Quantized:
        """Nearest codes, one search for all components that share them. Updates nothing: training hands the
        statistics to the quantizer itself."""
        vectors = features.rows().detach()
        found, tokens = self._nearest(vectors, features)
        codes = [self.quantizer.codes(part) for part in (tokens.scene, tokens.object, tokens.motion)]
        losses = [F.mse_loss(z.float(), e) for z, e in zip(features, codes, strict=True) if z.numel()]
        straight = [StraightThrough.apply(z, e) for z, e in zip(features, codes, strict=True)]
        return Quantized(Features(*straight), tokens, torch.stack(losses).sum(), vectors, found)

    @torch.no_grad()
    def encode(self, frames: Float[Tensor, "B T C H W"]) -> ClipTokens:
        """Tokens of whole clips, from raw frames in [0, 1] (the thresholded decomposition is for training's first
        steps only).

        Raises:
            ConfigError: frames of another number or size than the model's.
        """
        self._check(frames)
        videos = self.videos(frames)
        features = self.features(videos.scene, videos.object, videos.motion)
        return self._nearest(features.rows(), features)[1]

    @torch.no_grad()
    def encode_with_pseudo(
        self, frames: Float[Tensor, "B T C H W"], given_frames: int
    ) -> tuple[ClipTokens, ClipTokens]:
        """Tokens of whole clips and of their pseudo clips (Eq. 10), the latter with the clips' own motion tokens, of
        which the given ones hold (Eq. 12).

        The same tokens as `encode(pseudo_clip(frames, given_frames))` gives, for less than half of its work: a pseudo
        clip's frames are the clip's, and the motion encoder is not asked.
        """
        self._check(frames)
        still = []
        for name, encoder in (("scene", self.scene_encoder), ("object", self.object_encoder)):
            if encoder is None:
                joined = (self._absent(frames),) * 2
            else:
                features = encoder.frame_features(frames)
                joined = encoder.join(features), encoder.join(pseudo_clip(features, given_frames))
            still.append([self._search(name, z) for z in joined])
        (scene, pseudo_scene), (object, pseudo_object) = still
        motion = self._search("motion", self.motion_encoder(self.videos(frames).motion))
        return ClipTokens(scene, object, motion), ClipTokens(pseudo_scene, pseudo_object, motion)

    @torch.no_grad()
    def decode(
        self, tokens: ClipTokens, frames: Int[Tensor, " n"] | None = None, *, only: Collection[str] | None = None
    ) -> Float[Tensor, "B n C H W"]:
        """Frames of clips, float about [0, 1] (not clamped).

        Args:
            frames: which frames to draw, indices in [0, T); all by default. No frame depends on the motion tokens of
                another.
            only: components to draw from, of those that the model has; the decoder is given zeros for the others
                (Sec. C.3).

        Raises:
            ConfigError: `only` names something else.
        """
        present = self.config.components
        kept = present if only is None else only
        if unknown := sorted(set(kept) - set(present)):
            raise ConfigError("only", unknown, "is no component of this model", f"known: {', '.join(present)}")
        motion = tokens.motion if frames is None else tokens.motion[:, frames]
        parts = {"scene": tokens.scene, "object": tokens.object, "motion": motion}
        codes = {name: self.quantizer.codes(value) for name, value in parts.items()}
        return self.decoder(**{name: code if name in kept else torch.zeros_like(code) for name, code in codes.items()})

    def codes(self, tokens: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]:
        """codebook[tokens]."""
        return self.codebook[tokens]

    def _nearest(self, vectors: Float[Tensor, "B V D"], features: Features) -> tuple[Int[Tensor, "B V"], ClipTokens]:
        """Tokens of `features`, whose rows are `vectors`: in a row, and as grids. One search for each codebook."""
        found = torch.cat(
            [
                self.quantizer.find(vectors[:, rows].flatten(0, 1), part).view(len(vectors), rows.stop - rows.start)
                for part, rows in enumerate(self.rows_of_parts(features.motion.shape[1]))
            ],
            dim=1,
        )
        shapes = [(*value.shape[:-3], *value.shape[-2:]) for value in features]
        sizes = [int(np.prod(shape[1:])) for shape in shapes]
        parts = zip(found.split(sizes, dim=1), shapes, strict=True)
        return found, ClipTokens(*(part.reshape(shape) for part, shape in parts))

    def _search(self, component: str, features: Float[Tensor, "*b D h w"]) -> Int[Tensor, "*b h w"]:
        """Tokens of a component's grid, from its part of the codebook."""
        return self.quantizer.search(features, self.config.codebook_part(component))

    def _absent(self, video: Float[Tensor, "B n C H W"]) -> Float[Tensor, "B D 0 0"]:
        """The features of a component that the model does not have."""
        return video.new_zeros(len(video), self.config.code_dimension, *ABSENT)

    def _check(self, frames: Tensor) -> None:
        expected = (self.config.frames, 3, self.config.height, self.config.width)
        if frames.ndim != 5 or tuple(frames.shape[1:]) != expected:
            raise ConfigError(
                "frames",
                tuple(frames.shape),
                f"the model takes (B, T, C, H, W) with (T, C, H, W) = {expected}",
                "crop or resize the clips",
            )


def save_vqvae(model: VQVAE, folder: Path) -> None:
    """Write weights, codebook and config into an existing folder."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    write_json(folder / CONFIG, model.config)


def load_vqvae(folder: Path, device: torch.device | str = "cpu") -> VQVAE:
    """The model in a folder, in evaluation mode, channels last.

    Raises:
        FormatError: a file is missing, or the weights are not those of the config.
        ConfigError: the config is of other code.
    """
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise FormatError(f"{folder}: no {name}; this is no folder of the step 'train_vqvae'")
    config = build(VQVAEConfig, json.loads((folder / CONFIG).read_text()), "model")
    with torch.random.fork_rng(devices=[]):  # start values that are overwritten at once
        model = VQVAE(config)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FormatError(f"{folder / WEIGHTS} does not fit {CONFIG}: {error}") from None
    return model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]
