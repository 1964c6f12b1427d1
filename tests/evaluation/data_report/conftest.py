"""A frames folder as preprocess leaves it, small, with arrays in which every figure can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moso.frames.cache import FORMAT, VERSION, FrameCache, FrameCacheWriter
from moso.frames.statistics import statistics
from moso.provenance import write_json, write_provenance

SIZE = 8
SIGNAL = {"names": ["dx", "grip"], "meaning": "delta", "space": "end_effector", "units": ["m", ""]}


def square(length: int, level: int, background: int = 40) -> np.ndarray:
    """A 2 x 2 square of `level` that moves right by a pixel a frame on an even background: uint8 (length, 8, 8, 3)."""
    video = np.full((length, SIZE, SIZE, 3), background, dtype=np.uint8)
    for t in range(length):
        video[t, 2:4, t % (SIZE - 1) : t % (SIZE - 1) + 2] = level
    return video


def write_frames(folder: Path) -> Path:
    """Training: two moving squares and the first again; test: one that moves further; one record set aside."""
    episodes = [
        ("a", "train", square(6, 140)),
        ("b", "train", square(4, 240)),
        ("b_again", "train", square(4, 240)),
        ("c", "validation", np.full((5, SIZE, SIZE, 3), 200, dtype=np.uint8)),
        ("d", "test", square(6, 90)),
    ]
    rows = []
    with FrameCacheWriter(folder, height=SIZE, width=SIZE, fps=5.0, actions=2) as writer:
        for number, (episode, split, frames) in enumerate(episodes):
            actions = np.zeros((len(frames), 2), dtype=np.float32)
            actions[:, 0] = np.arange(len(frames)) * (10 if split == "test" else 1)
            writer.add(episode, split, frames, actions)
            rows.append(
                {
                    "episode_id": episode, "split": split, "recording": episode.removesuffix("_again"),
                    "source": f"{episode}.npz", "sha256": episode.removesuffix("_again"), "frames": len(frames),
                    "height": 16 if number else 24, "width": 16, "fps": 5.0, "actions": 2, "added_in": 1 + (number > 2),
                }
            )  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "manifest.parquet")
    bad = [("worse.npz", 0, "the file is empty"), ("bad.tfrecord", 741_626, "CRC <differs>")]
    pd.DataFrame(bad, columns=["file", "offset", "reason"]).to_parquet(folder / "quarantine.parquet")
    write_json(folder / "statistics.json", statistics(FrameCache.open(folder)))
    write_json(
        folder / "data.json",
        {
            "data_set": "squares", "title": "Squares & more", "licence": "MIT", "splits": {"rule": "recorded"},
            "actions": SIGNAL, "states": None, "crop": "none", "resize": "antialias",
            "raw_sizes": [{"height": 16, "width": 16, "episodes": 4}, {"height": 24, "width": 16, "episodes": 1}],
        },
    )  # fmt: skip
    write_provenance(folder, format=FORMAT, version=VERSION, step="preprocess", config={}, inputs={})
    return folder


@pytest.fixture(scope="session")
def frames_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("squares") / "frames")
