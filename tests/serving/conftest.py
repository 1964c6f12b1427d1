"""Two tiny models of the real kinds, untrained, with reports as evaluate writes them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moso.provenance import digest_json, write_provenance
from tests.small_model import SIZE, K, write_model

PAGE = (
    '<!doctype html><title>report</title><dl><dd id="model-version">not registered when this page was written</dd></dl>'
)


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
    """A model whose weights are drawn from `seed`, and a report that has yet to be written. It can generate, too."""
    settings = {"positions": "learned", "dropout": 0.1}
    write_model(folder, seed, unconditional=True, transformer=settings, frames="f" * 64)
    return Trained(folder / "vqvae", folder / "transformer", folder / "report")


def per_clip(psnr: float, wobble: float, clips: int, episodes: int) -> pd.DataFrame:
    """Figures clip by clip with the mean `psnr`: 1 dB either way for how hard a clip is, `wobble` dB for the model."""
    numbers = np.arange(clips)
    sides = np.where(numbers % 2, 1.0, -1.0)
    rows = {
        "clip_id": [f"seed_{i % episodes:06d}@{i // episodes * 12:05d}" for i in numbers],
        "episode_id": [f"seed_{i % episodes:06d}" for i in numbers],
        "first_frame": numbers // episodes * 12,
    }
    hard = np.linspace(-1, 1, clips)
    methods = {
        "prediction": (psnr + hard + wobble * sides, 0.8 + 0.01 * hard),
        "repeat_last": (19.0 + hard, 0.75 + 0 * hard),
    }
    return pd.concat(
        [pd.DataFrame({**rows, "method": m, "psnr": p, "ssim": s, "sample": 0}) for m, (p, s) in methods.items()]
    )


def evaluate(trained: Trained, psnr: float, *, wobble: float = 0.0, **protocol: object) -> Trained:
    """Write the report of `trained` with this figure; its clips differ from it by `wobble` dB this way and that."""
    trained.report.mkdir(exist_ok=True)
    setting = {"data_set": "toy", "split": "test", "clips": 16, "episodes": 8, "given_frames": K, **protocol}
    content = {
        "prediction": {"psnr": psnr, "ssim": 0.8},
        "repeat_last": {"psnr": 19.0, "ssim": 0.75},
        "protocol": setting,
        "protocol_digest": digest_json(setting),
    }
    (trained.report / "metrics.json").write_text(json.dumps(content))
    table = per_clip(psnr, wobble, setting["clips"], setting["episodes"])
    table.to_parquet(trained.report / "per_clip.parquet", index=False)
    (trained.report / "index.html").write_text(PAGE)
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
    return evaluate(train(tmp_path_factory.mktemp("second"), seed=2), 22.0, wobble=0.25)


@pytest.fixture
def frames() -> np.ndarray:
    return the_frames(2)


@pytest.fixture
def reevaluate():
    return evaluate


@pytest.fixture
def retrain():
    return train
