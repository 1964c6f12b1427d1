"""A tiny model of the real kind, untrained: folders as the two training steps write them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from moso.provenance import write_json, write_provenance
from moso.tasks import Model
from moso.tokens.store import codebook_digest
from moso.transformer.config import SamplingConfig, TransformerConfig
from moso.transformer.model import MosoTransformer, save_transformer
from moso.vqvae.config import VQVAEConfig, given_motion_frames
from moso.vqvae.model import VQVAE, save_vqvae

K, T, SIZE = 2, 4, 16


def write_model(folder: Path, seed: int) -> Path:
    config = VQVAEConfig(
        frames=T, height=SIZE, width=SIZE, scene_factor=2, object_factor=4, motion_factor=8, pools=2,
        channels=16, code_dimension=8, codebook_size=32, residual_channels=8, encoder_blocks=0, decoder_blocks=0,
        attention_heads=2, norm_group=8, stem_channels=(8,),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vqvae = VQVAE(config)
        vqvae.codebook.copy_(torch.randn_like(vqvae.codebook))
        transformer = MosoTransformer(
            TransformerConfig(
                embedding=16, hidden=16, mlp=16, heads=2, scene_object_blocks=1, motion_blocks=1, dropout=0.5
            ),
            vqvae.grids,
            config.codebook_size,
            vqvae.codebook,
            K,
            given_motion_frames(config, K),
            codebook_digest(vqvae.codebook),
        )
    one, two = folder / "vqvae", folder / "transformer"
    one.mkdir(parents=True)
    save_vqvae(vqvae, one)
    write_provenance(one, format="moso.vqvae", version=1, step="train_vqvae", config={"seed": seed}, inputs={})
    save_transformer(transformer, two)
    write_json(two / "sampling.json", SamplingConfig(steps=3, confidence_noise=1.0))
    write_provenance(
        two, format="moso.transformer", version=1, step="train_transformer", config={"seed": seed}, inputs={}
    )
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), seed=0)


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory):
    """A model of another codebook."""
    return write_model(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture
def model(model_folder):
    return Model.load(model_folder, "cpu")


@pytest.fixture
def clips():
    """Five whole clips: smooth pictures that change from frame to frame."""
    random = np.random.default_rng(0)
    start, step = random.integers(0, 200, (5, 1, 4, 4, 3)), random.integers(-20, 20, (5, 1, 4, 4, 3))
    frames = np.clip(start + step * np.arange(T)[None, :, None, None, None], 0, 255).astype(np.uint8)
    return frames.repeat(SIZE // 4, axis=2).repeat(SIZE // 4, axis=3)
