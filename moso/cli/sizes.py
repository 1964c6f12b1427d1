"""How large the models of a preset are, counted without their memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from moso.config import build, load_preset
from moso.parameters import count_parameters
from moso.transformer.config import TransformerConfig
from moso.transformer.model import MosoTransformer
from moso.vqvae.config import VQVAEConfig, given_motion_frames
from moso.vqvae.model import VQVAE


@dataclass(frozen=True)
class Sizes:
    """Of one preset.

    Attributes:
        vqvae: trained numbers of Stage I; the codebook, which is no parameter, is left out.
        transformer: of Stage II.
        frames: T.
        given_frames: K.
        height, width: of a frame, in pixels.
        tokens: of a clip.
    """

    vqvae: int
    transformer: int
    frames: int
    given_frames: int
    height: int
    width: int
    tokens: int


def sizes(preset: str) -> Sizes:
    """The sizes that a preset says, without the overrides of a params.yaml.

    Raises:
        ConfigError: no such preset, or a setting that is wrong.
    """
    sections = load_preset(preset)
    stage_1, stage_2 = sections.get("train_vqvae") or {}, sections.get("train_transformer") or {}
    one = build(VQVAEConfig, stage_1.get("model") or {}, at="train_vqvae.model")
    two = build(TransformerConfig, stage_2.get("model") or {}, at="train_transformer.model")
    given = int((sections.get("extract_tokens") or {}).get("given_frames", 0))
    with torch.device("meta"):
        vqvae = VQVAE(one)
        codes = vqvae.codebook if two.code_embedding else None
        transformer = MosoTransformer(
            two, vqvae.grids, one.codebook_size, codes, given, given_motion_frames(one, given), ""
        )
    return Sizes(
        count_parameters(vqvae),
        count_parameters(transformer),
        one.frames,
        given,
        one.height,
        one.width,
        vqvae.grids.tokens,
    )
