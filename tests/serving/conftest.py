"""Two tiny models of the real kinds, untrained, with reports as evaluate writes them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from moso.provenance import digest_json, write_json, write_provenance
from moso.tokens.store import codebook_digest
from moso.transformer.config import SamplingConfig, TransformerConfig
from moso.transformer.model import MosoTransformer, save_transformer
from moso.vqvae.config import VQVAEConfig, given_motion_frames
from moso.vqvae.model import VQVAE, save_vqvae

K, T, SIZE = 2, 4, 16
STEPS = 3


@dataclass(frozen=True)
class Trained:
    """Output folders of the three steps before promote."""

    vqvae: Path
    transformer: Path
    report: Path

    def inputs(self) -> dict[str, Path]:
        return {"vqvae": self.vqvae, "transformer": self.transformer, "report": self.report}


def the_frames(clips: int = 1) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (clips, K, SIZE, SIZE, 3), dtype=np.uint8)


def train(folder: Path, seed: int) -> Trained:
    """A model whose weights are drawn from `seed`, and a report that has yet to be written."""
    config = VQVAEConfig(
        frames=T, height=SIZE, width=SIZE, scene_factor=2, object_factor=4, motion_factor=8, pools=2,
        channels=16, code_dimension=8, codebook_size=32, residual_channels=8, encoder_blocks=0, decoder_blocks=0,
        attention_heads=2, norm_group=8, stem_channels=(8,),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vqvae = VQVAE(config)
        vqvae.codebook.copy_(torch.randn_like(vqvae.codebook))
        digest = codebook_digest(vqvae.codebook)
        settings = TransformerConfig(
            embedding=16, hidden=16, mlp=16, heads=2, scene_object_blocks=1, motion_blocks=1, positions="learned"
        )
        transformer = MosoTransformer(
            settings, vqvae.grids, config.codebook_size, vqvae.codebook, K, given_motion_frames(config, K), digest
        )
    one, two = folder / "vqvae", folder / "transformer"
    one.mkdir(parents=True)
    save_vqvae(vqvae, one)
    record = write_provenance(
        one, format="moso.vqvae", version=1, step="train_vqvae", config={"seed": seed}, inputs={"frames": "f" * 64}
    )
    save_transformer(transformer, two)
    write_json(two / "sampling.json", SamplingConfig(steps=STEPS))
    write_provenance(
        two,
        format="moso.transformer",
        version=1,
        step="train_transformer",
        config={"seed": seed, "model": settings},
        inputs={"tokens": digest_json(record["digest"])},
    )
    return Trained(one, two, folder / "report")


def evaluate(trained: Trained, psnr: float, **protocol: object) -> Trained:
    """Write the report of `trained` with this figure."""
    trained.report.mkdir(exist_ok=True)
    setting = {"data_set": "toy", "split": "test", "clips": 4, "episodes": 2, "given_frames": K, **protocol}
    content = {
        "prediction": {"psnr": psnr, "ssim": 0.8},
        "repeat_last": {"psnr": 19.0, "ssim": 0.75},
        "protocol": setting,
        "protocol_digest": digest_json(setting),
    }
    (trained.report / "metrics.json").write_text(json.dumps(content))
    (trained.report / "index.html").write_text("<!doctype html><title>report</title>")
    np.save(trained.report / "example.npy", the_frames())
    parts = {
        name: json.loads((getattr(trained, name) / "provenance.json").read_text())["digest"]
        for name in ("vqvae", "transformer")
    }
    write_provenance(
        trained.report,
        format="moso.report",
        version=1,
        step="evaluate",
        config={},
        inputs={**parts, "frames": "f" * 64},
    )
    return trained


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Trained:
    return evaluate(train(tmp_path_factory.mktemp("first"), seed=1), 21.0)


@pytest.fixture(scope="module")
def second(tmp_path_factory) -> Trained:
    return evaluate(train(tmp_path_factory.mktemp("second"), seed=2), 22.0)


@pytest.fixture
def frames() -> np.ndarray:
    return the_frames(2)


@pytest.fixture
def reevaluate():
    return evaluate


@pytest.fixture
def retrain():
    return train
