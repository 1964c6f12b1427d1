"""Raw files in the documented format, written by hand: never by the simulator or the reader's own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from moso.datasets.spec import DatasetSpec, SourceSpec, SplitSpec

FRAMES, SIDE = 5, 4


@pytest.fixture
def spec() -> DatasetSpec:
    splits = SplitSpec("id_ranges", train=(0, 100), validation=(100, 200), test=(200, 300))
    return DatasetSpec("tiny", "sim_push", SourceSpec("simulate"), 10.0, splits, episode_frames=FRAMES)


@pytest.fixture
def write_raw(tmp_path: Path) -> Callable[..., str]:
    """write(seed, **arrays) -> source; arrays replace the good ones (None leaves one out)."""

    def write(seed: int, **arrays: np.ndarray | None) -> str:
        rng = np.random.default_rng(seed)
        good: dict[str, np.ndarray | None] = {
            "frames": rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8),
            "actions": rng.normal(size=(FRAMES, 3)).astype(np.float32),
            "states": rng.normal(size=(FRAMES, 2)).astype(np.float32),
        }
        (tmp_path / "episodes").mkdir(exist_ok=True)
        kept = {name: array for name, array in (good | arrays).items() if array is not None}
        np.savez_compressed(tmp_path / "episodes" / f"seed_{seed:06d}.npz", **kept)
        return f"episodes/seed_{seed:06d}.npz"

    return write
