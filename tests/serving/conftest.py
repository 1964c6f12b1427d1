"""Two tiny models of the real kinds, untrained, with reports as evaluate writes them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from moso.provenance import digest_json, write_provenance
from tests.small_model import SIZE, K, write_model


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
