"""Inputs of the step evaluate, tiny and real: a frame cache of moving squares, an untrained model, its token store."""

import numpy as np
import pytest
import torch

from moso.frames.cache import FrameCache, FrameCacheWriter
from moso.frames.clips import Clips, to_float, windows
from moso.provenance import write_json, write_provenance
from moso.tasks import Model
from moso.tokens.store import codebook_digest
from moso.tokens.writer import TokenStoreWriter
from moso.transformer.config import SamplingConfig, TransformerConfig
from moso.transformer.model import MosoTransformer, save_transformer
from moso.vqvae.config import VQVAEConfig, given_motion_frames
from moso.vqvae.decompose import pseudo_clip
from moso.vqvae.model import VQVAE, save_vqvae

K, T, SIZE, EPISODE = 2, 4, 16, 10
EPISODES = {"train": 2, "validation": 2, "test": 3}


def episode(seed):
    """A bright square that moves over a still ground: uint8 (EPISODE, SIZE, SIZE, 3)."""
    random = np.random.default_rng(seed)
    frames = np.repeat(random.integers(60, 120, (1, SIZE, SIZE, 3)), EPISODE, axis=0).astype(np.uint8)
    row, colour = random.integers(0, SIZE - 4), random.integers(150, 256, 3)
    for t in range(EPISODE):
        frames[t, row : row + 4, t : t + 4] = colour
    return frames


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """name -> folder, as the steps before evaluate write them."""
    root = tmp_path_factory.mktemp("inputs")
    folders = {name: root / name for name in ("frames", "vqvae", "tokens", "transformer")}
    number = 0
    with FrameCacheWriter(folders["frames"], height=SIZE, width=SIZE, fps=10.0) as writer:
        for split, count in EPISODES.items():
            for _ in range(count):
                writer.add(f"seed_{number:06d}", split, episode(number))
                number += 1
    write_provenance(folders["frames"], format="moso.frames", version=1, step="preprocess", config={}, inputs={})

    config = VQVAEConfig(
        frames=T, height=SIZE, width=SIZE, scene_factor=2, object_factor=4, motion_factor=8, pools=2,
        channels=16, code_dimension=8, codebook_size=32, residual_channels=8, encoder_blocks=0, decoder_blocks=0,
        attention_heads=2, norm_group=8, stem_channels=(8,),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vqvae = VQVAE(config).eval()
        vqvae.codebook.copy_(torch.randn_like(vqvae.codebook))
        transformer = MosoTransformer(
            TransformerConfig(
                embedding=16, hidden=16, mlp=16, heads=2, scene_object_blocks=1, motion_blocks=1, positions="learned"
            ),
            vqvae.grids,
            config.codebook_size,
            vqvae.codebook,
            K,
            given_motion_frames(config, K),
            codebook_digest(vqvae.codebook),
        )
    folders["vqvae"].mkdir()
    save_vqvae(vqvae, folders["vqvae"])
    (folders["vqvae"] / "history.csv").write_text(
        "step,commitment,l1,loss,psnr,validation_psnr,validation_psnr_frozen\n1,,0.5,0.5,10,,\n2,0.1,0.3,0.4,12,11,9\n"
    )
    save_transformer(transformer, folders["transformer"])
    write_json(folders["transformer"] / "sampling.json", SamplingConfig(steps=2))
    (folders["transformer"] / "history.csv").write_text("step,loss,motion_loss\n1,3.0,3.5\n2,2.0,2.5\n")
    for name in ("vqvae", "transformer"):
        write_provenance(folders[name], format=f"moso.{name}", version=1, step=f"train_{name}", config={}, inputs={})

    cache = FrameCache.open(folders["frames"])
    clips = Clips(cache, windows(cache, "train", T, T), T)
    frames = to_float(clips.batch(range(len(clips))))
    with TokenStoreWriter(folders["tokens"], vqvae.grids, vqvae.codebook, K, given_motion_frames(config, K)) as store:
        store.add(clips.clips, "train", vqvae.encode(frames), vqvae.encode(pseudo_clip(frames, K)))
    write_provenance(folders["tokens"], format="moso.tokens", version=1, step="extract_tokens", config={}, inputs={})
    return folders


@pytest.fixture
def cache(inputs):
    return FrameCache.open(inputs["frames"])


@pytest.fixture
def model(inputs):
    return Model.from_parts(inputs["vqvae"], inputs["transformer"], "cpu")
