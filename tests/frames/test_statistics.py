from pathlib import Path

import numpy as np
import pytest

from moso.frames.cache import FrameCache, FrameCacheWriter
from moso.frames.statistics import statistics


def test_figures_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    def video(*levels: int) -> np.ndarray:
        return np.repeat(np.array(levels, np.uint8), 12).reshape(len(levels), 2, 2, 3)

    with FrameCacheWriter(tmp_path, height=2, width=2, fps=1.0, actions=2) as writer:
        writer.add("a", "train", video(0, 10, 250), np.array([[1, -1], [2, -1], [3, -1]], np.float32))
        writer.add("b", "test", video(255), np.array([[5, 5]], np.float32))
        writer.add("c", "train", video(100), np.array([[6, -1]], np.float32))
    figures = statistics(FrameCache.open(tmp_path))
    train = figures["train"]
    assert (train["episodes"], train["frames"]) == (2, 4)
    assert train["brightness"] == {"mean": pytest.approx(90.0), "std": pytest.approx(np.std([0, 10, 250, 100]))}
    assert train["mean_difference"] == pytest.approx((10 + 240) / 2)  # never between the last of a and the first of c
    assert train["actions"] == {
        "mean": [3.0, -1.0],
        "std": [pytest.approx(np.std([1, 2, 3, 6])), 0.0],
        "min": [1.0, -1.0],
        "max": [6.0, -1.0],
    }
    assert "states" not in train
    assert figures["test"]["mean_difference"] == 0.0


def test_figures_of_random_videos_agree_with_plain_numpy(cache: FrameCache, videos: list[object]) -> None:
    figures = statistics(cache)
    for split in ("train", "validation", "test"):
        frames = [v.frames.astype(np.float64) for v in videos if v.split == split]  # type: ignore[attr-defined]
        pixels = np.concatenate([f.ravel() for f in frames])
        steps = np.concatenate([np.abs(np.diff(f, axis=0)).ravel() for f in frames])
        assert figures[split]["brightness"]["mean"] == pytest.approx(pixels.mean())
        assert figures[split]["brightness"]["std"] == pytest.approx(pixels.std())
        assert figures[split]["mean_difference"] == pytest.approx(steps.mean())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not say what is mapped")
def test_one_shard_is_mapped_at_a_time_whatever_the_number_of_shards(tmp_path: Path) -> None:
    with FrameCacheWriter(tmp_path, height=4, width=4, fps=10.0, shard_bytes=100) as writer:
        for i in range(8):
            writer.add(f"e{i}", "train" if i % 2 else "test", np.full((2, 4, 4, 3), i, np.uint8))
    cache = FrameCache.open(tmp_path)
    assert len(cache.index["shards"]) == 8
    assert {split: figures["frames"] for split, figures in statistics(cache).items()} == {"train": 8, "test": 8}
    maps = Path("/proc/self/maps").read_text()
    assert len({line.split()[-1] for line in maps.splitlines() if str(tmp_path) in line}) == 1
