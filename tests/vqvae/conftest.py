"""A network of Stage I small enough for exact checks, and a frame cache of drawn episodes."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from moso.frames.cache import FORMAT, VERSION, FrameCacheWriter
from moso.provenance import write_provenance
from moso.training.random import generator
from moso.vqvae.config import VQVAEConfig
from moso.vqvae.model import VQVAE

SMALL = VQVAEConfig(
    frames=6,
    height=16,
    width=32,
    scene_factor=2,
    object_factor=2,
    motion_factor=4,
    pools=3,
    channels=8,
    code_dimension=4,
    codebook_size=24,
    stem_channels=(4,),
    stem_kernel=3,
    stem_refine=False,
    merge_kernel=3,
    residual_channels=4,
    encoder_blocks=1,
    decoder_blocks=1,
    attention_heads=2,
    norm_group=4,
    positions=True,
)

DECOMPOSITIONS = ("motion_scene_object", "motion_content", "none")
VARIANTS: dict[str, dict[str, str]] = {
    **{name: {"decomposition": name} for name in DECOMPOSITIONS},
    "sum": {"merge": "sum"},
    "separate": {"codebooks": "separate"},
    "motion_content_separate": {"decomposition": "motion_content", "codebooks": "separate"},
}
"""Changes of SMALL that make each structure of the ablations."""


@pytest.fixture(params=DECOMPOSITIONS)
def decomposition(request: pytest.FixtureRequest) -> str:
    """Each of them in turn."""
    return request.param


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def variant(request: pytest.FixtureRequest) -> dict[str, str]:
    """Changes of the small config: each structure of the ablations in turn."""
    return request.param


@pytest.fixture(scope="session")
def small() -> VQVAEConfig:
    """T = 6 in 3 pools, 16 x 32 pixels, factors 2, 2, 4; N = 24, D = 4."""
    return SMALL


@pytest.fixture(scope="session")
def build() -> Callable[..., VQVAE]:
    """Make a small model: build(seed=0, **changes of its config)."""
    return _build


@pytest.fixture(scope="session")
def video() -> Callable[..., torch.Tensor]:
    """Make random clips: video(seed, batch=2)."""
    return _video


@pytest.fixture(scope="session")
def write_cache() -> Callable[..., Path]:
    """Write a frame cache: write_cache(folder, {split: episodes}, frames, change)."""
    return _write_cache


def _build(seed: int = 0, **changes: object) -> VQVAE:
    """A small model with start values of `seed`, its codebook scaled so that features meet many codes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VQVAE(dataclasses.replace(SMALL, **changes)).eval()
        model.quantizer.codebook.mul_(0.5)
    return model


def _video(seed: int, batch: int = 2) -> torch.Tensor:
    """Random clips float (B, T, 3, H, W) in [0, 1]."""
    return torch.rand(batch, SMALL.frames, 3, SMALL.height, SMALL.width, generator=generator(seed, "video"))


def _draw_episode(seed: int, frames: int, height: int, width: int) -> np.ndarray:
    """uint8 (frames, H, W, 3): a bright square that moves over a gradient."""
    numbers = np.random.default_rng(seed)
    floor = np.linspace(40, 120, width)[None, :, None] + numbers.integers(0, 60, 3)
    episode = np.broadcast_to(floor, (frames, height, width, 3)).copy()
    row, column = numbers.integers(0, height - 5), numbers.integers(0, width - 5)
    colour = numbers.integers(150, 256, 3)
    for t in range(frames):
        at = (row + t) % (height - 4), (column + 2 * t) % (width - 4)
        episode[t, at[0] : at[0] + 4, at[1] : at[1] + 4] = colour
    return episode.astype(np.uint8)


def _write_cache(
    folder: Path,
    episodes: dict[str, int],
    frames: int,
    change: Callable[[np.ndarray, int], np.ndarray] = lambda episode, number: episode,
) -> Path:
    """A frame cache of drawn episodes: split -> how many; `change` may alter each."""
    number = 0
    with FrameCacheWriter(folder, height=SMALL.height, width=SMALL.width, fps=10.0) as writer:
        for split, count in episodes.items():
            for _ in range(count):
                episode = _draw_episode(number, frames, SMALL.height, SMALL.width)
                writer.add(f"episode_{number}", split, change(episode, number))
                number += 1
    write_provenance(folder, format=FORMAT, version=VERSION, step="preprocess", config={}, inputs={})
    return folder


class Workers:
    """A world of threads: each rank runs a function at once, all_reduce_ adds up over them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=20)
        self.tensors = [None] * size

    def run(self, function):
        results = [None] * self.size

        def call(rank):
            try:
                results[rank] = function(_Worker(self, rank))
            except BaseException:
                self.barrier.abort()
                raise

        threads = [threading.Thread(target=call, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


class _Worker:
    def __init__(self, workers, rank):
        self._workers, self.rank, self.size = workers, rank, workers.size

    def all_reduce_(self, tensor):
        self._workers.tensors[self.rank] = tensor.clone()
        self._workers.barrier.wait()
        tensor.copy_(torch.stack(self._workers.tensors).sum(0))
        self._workers.barrier.wait()
        return tensor

    def barrier(self):
        self._workers.barrier.wait()


@pytest.fixture(scope="session")
def workers() -> type[Workers]:
    """Workers(size).run(function of a world) -> each rank's result."""
    return Workers


@pytest.fixture(scope="session")
def frames_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 training and 2 validation episodes of 8 frames; to be read only."""
    return _write_cache(tmp_path_factory.mktemp("drawn") / "frames", {"train": 4, "validation": 2}, 8)
