"""A project folder as a user has one: models (tiny, untrained), a report, a video, images, a data set's frame cache."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from moso.cli import main
from moso.frames.cache import FrameCacheWriter
from moso.provenance import write_json, write_provenance
from moso.tokens.store import codebook_digest
from moso.transformer.config import SamplingConfig, TransformerConfig
from moso.transformer.model import MosoTransformer, save_transformer
from moso.video import write
from moso.vqvae.config import VQVAEConfig, given_motion_frames
from moso.vqvae.model import VQVAE, save_vqvae

K, T, SIZE = 2, 4, 16


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line that a refused command printed last."""
        assert self.code == 1, self
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("moso: ")]
        return line


def write_model(folder: Path, seed: int, *, given: int = K, unconditional: bool = False) -> None:
    config = VQVAEConfig(
        frames=T, height=SIZE, width=SIZE, scene_factor=2, object_factor=4, motion_factor=8, pools=2,
        channels=16, code_dimension=8, codebook_size=32, residual_channels=8, encoder_blocks=0, decoder_blocks=0,
        attention_heads=2, norm_group=8, stem_channels=(8,),
    )  # fmt: skip
    small = TransformerConfig(embedding=16, hidden=16, mlp=16, heads=2, scene_object_blocks=1, motion_blocks=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vqvae = VQVAE(config)
        vqvae.codebook.copy_(torch.randn_like(vqvae.codebook))
        transformer = MosoTransformer(
            small,
            vqvae.grids,
            config.codebook_size,
            vqvae.codebook,
            given,
            given_motion_frames(config, given),
            codebook_digest(vqvae.codebook),
            unconditional=unconditional,
        )
    one, two = folder / "vqvae", folder / "transformer"
    one.mkdir(parents=True)
    save_vqvae(vqvae, one)
    write_provenance(one, format="moso.vqvae", version=1, step="train_vqvae", config={"seed": seed}, inputs={})
    save_transformer(transformer, two)
    write_json(two / "sampling.json", SamplingConfig(steps=3, confidence_noise=1.0))
    names = {"format": "moso.transformer", "version": 1, "step": "train_transformer"}
    write_provenance(two, **names, config={"seed": seed, "given": given}, inputs={})


def draw(number: int, frames: int = 10, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """A square on a slope of colour that moves by a pixel a frame: uint8 (frames, height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    slope = np.stack([40 * number + 2 * x, 200 - 3 * y, 90 + x + y], axis=-1) % 256
    video = np.repeat(slope[None], frames, axis=0).astype(np.uint8)
    for t in range(frames):
        video[t, 3:8, t % (width - 5) : t % (width - 5) + 5] = (250, 120 - 20 * number, 30)
    return video


@pytest.fixture(scope="session")
def episodes() -> dict[int, np.ndarray]:
    """Number -> the frames that the cache holds of seed_20000<number>, uint8 (10, 16, 16, 3)."""
    return {number: draw(number) for number in (1, 2, 3)}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("template")
    write_model(root / "models" / "sim_push", seed=0)
    write_model(root / "models" / "unconditional", seed=1, unconditional=True)
    write_model(root / "models" / "nothing_given", seed=2, given=0, unconditional=True)
    with FrameCacheWriter(root / "data" / "sim_push" / "frames", height=SIZE, width=SIZE, fps=8.0) as cache:
        for number in (1, 2, 3):
            cache.add(f"seed_20000{number}", "test", draw(number))
    (root / "reports").mkdir()
    np.save(root / "reports" / "example.npy", draw(1)[None, :K])
    write(root / "push.mp4", draw(1, 12, 24, 40)[None], 10.0)
    (root / "images").mkdir()
    for t, frame in enumerate(draw(2, 12, 40, 24)):
        Image.fromarray(frame).save(root / "images" / f"{t}.png")
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a test, with its own copy of everything."""
    root = tmp_path / "project"
    shutil.copytree(template, root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root


@pytest.fixture
def moso(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command line, called in this process: moso("predict", "models/sim_push", …) -> exit code and output."""

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["moso", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call
