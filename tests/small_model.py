"""The models that tests of whole tasks use: real, untrained, and as small as the rules allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from moso.provenance import digest_json, write_json, write_provenance
from moso.tokens.store import codebook_digest
from moso.transformer.config import SamplingConfig, TransformerConfig
from moso.transformer.model import MosoTransformer, save_transformer
from moso.vqvae.config import VQVAEConfig, given_motion_frames
from moso.vqvae.model import VQVAE, save_vqvae

K, T, SIZE, CODEBOOK = 2, 4, 16, 32
SAMPLING = SamplingConfig(steps=3, confidence_noise=1.0)


def write_model(
    folder: Path,
    seed: int,
    *,
    given: int = K,
    unconditional: bool = False,
    vqvae: dict[str, Any] | None = None,
    transformer: dict[str, Any] | None = None,
    frames: str | None = None,
) -> Path:
    """Output folders vqvae/ and transformer/ as the two training steps write them, with weights drawn from `seed`.

    Args:
        folder: is made.
        seed: of the weights; another one, another codebook.
        given: K.
        unconditional: trained to generate as well.
        vqvae, transformer: settings in place of the small ones.
        frames: digest of the frames, where the provenance is to name them.
    """
    settings: dict[str, Any] = {
        "frames": T, "height": SIZE, "width": SIZE, "scene_factor": 2, "object_factor": 4, "motion_factor": 8,
        "pools": 2, "channels": 16, "code_dimension": 8, "codebook_size": CODEBOOK, "residual_channels": 8,
        "encoder_blocks": 0, "decoder_blocks": 0, "attention_heads": 2, "norm_group": 8, "stem_channels": (8,),
    }  # fmt: skip
    config = VQVAEConfig(**settings | (vqvae or {}))
    small: dict[str, Any] = {"embedding": 16, "hidden": 16, "mlp": 16, "heads": 2, "dropout": 0.5}
    small |= {"scene_object_blocks": 1, "motion_blocks": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = VQVAE(config)
        first.codebook.copy_(torch.randn_like(first.codebook))
        digest = codebook_digest(first.codebook)
        second = MosoTransformer(
            TransformerConfig(**small | (transformer or {})),
            first.grids,
            config.codebook_size,
            first.codebook,
            given,
            given_motion_frames(config, given),
            digest,
            unconditional=unconditional,
        )
    one, two = folder / "vqvae", folder / "transformer"
    one.mkdir(parents=True)
    save_vqvae(first, one)
    write_provenance(
        one,
        format="moso.vqvae",
        version=1,
        step="train_vqvae",
        config={"seed": seed},
        inputs={} if frames is None else {"frames": frames},
    )
    save_transformer(second, two)
    write_json(two / "sampling.json", SAMPLING)
    write_provenance(
        two,
        format="moso.transformer",
        version=1,
        step="train_transformer",
        config={"seed": seed, "given": given, "model": second.config},
        inputs={"tokens": digest_json(digest)},
    )
    return folder


def smooth_clips(count: int, frames: int = T) -> np.ndarray:
    """Clips of coarse squares whose grey changes evenly from frame to frame, uint8 (count, frames, SIZE, SIZE, 3)."""
    random = np.random.default_rng(0)
    shape = (count, 1, 4, 4, 3)
    start, step = random.integers(0, 200, shape), random.integers(-20, 20, shape)
    video = np.clip(start + step * np.arange(frames)[None, :, None, None, None], 0, 255).astype(np.uint8)
    return video.repeat(SIZE // 4, axis=2).repeat(SIZE // 4, axis=3)
