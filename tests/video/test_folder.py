"""A folder that thousands of videos are written into."""

import numpy as np
import pytest

from moso.errors import ConfigError, DataError, MismatchError
from moso.video import read
from moso.video.folder import SHARD, VideoFolder

COUNT = SHARD + 3


def video(number: int) -> np.ndarray:
    return np.full((2, 16, 16, 3), number, dtype=np.uint8)


class Maker:
    """Makes videos in batches of 10 and remembers what it was asked for."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.asked: list[tuple[int, int]] = []
        self.dies_after = dies_after

    def __call__(self, first: int, count: int):
        if self.dies_after is not None and len(self.asked) == self.dies_after:
            raise KeyboardInterrupt
        self.asked.append((first, count))
        for start in range(first, first + count, 10):
            yield np.stack([video(i) for i in range(start, min(start + 10, first + count))])


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("suffix", [".mp4", ".npy"])
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(tmp_path, suffix):
    whole = VideoFolder(tmp_path / "whole", {"seed": 0}, suffix, 5.0)
    assert whole.fill(COUNT, Maker()) == COUNT
    with pytest.raises(KeyboardInterrupt):
        VideoFolder(tmp_path / "stopped", {"seed": 0}, suffix, 5.0).fill(COUNT, Maker(dies_after=1))
    goes_on = Maker()
    assert VideoFolder(tmp_path / "stopped", {"seed": 0}, suffix, 5.0).fill(COUNT, goes_on) == 3
    assert goes_on.asked == [(SHARD, 3)]
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    again = Maker()
    assert whole.fill(COUNT, again) == 0
    assert not again.asked


def test_every_video_lies_under_its_number(tmp_path):
    VideoFolder(tmp_path / "a", {}, ".mp4", 5.0).fill(COUNT, Maker())
    VideoFolder(tmp_path / "b", {}, ".npy", 5.0).fill(COUNT, Maker())
    assert len(list((tmp_path / "a").glob("*.mp4"))) == COUNT
    for number in (0, 7, SHARD, COUNT - 1):
        frames = read(tmp_path / "a" / f"{number:06d}.mp4").frames
        assert frames.shape == (1, 2, 16, 16, 3)
        assert np.abs(frames.astype(int) - number).max() <= 2
    shards = np.concatenate([np.load(path) for path in sorted((tmp_path / "b").glob("*.npy"))])
    np.testing.assert_array_equal(shards, np.stack([video(i) for i in range(COUNT)]))


def test_a_larger_count_completes_the_last_shard(tmp_path):
    folder = VideoFolder(tmp_path, {}, ".npy", 5.0)
    folder.fill(3, Maker())
    assert folder.missing(5) == [3, 4]
    assert folder.fill(5, Maker()) == 2
    np.testing.assert_array_equal(np.load(tmp_path / "000000.npy")[:, 0, 0, 0, 0], range(5))
    assert folder.missing(4) == []


@pytest.mark.parametrize("suffix", [".mp4", ".npy"])
def test_only_what_was_missing_counts_as_written_and_as_progress(tmp_path, suffix):
    folder, told = VideoFolder(tmp_path, {}, suffix, 5.0), []
    assert folder.fill(COUNT, Maker(), told.append) == COUNT
    assert told == [10, 10, 10, SHARD - 30, COUNT - SHARD]
    (tmp_path / f"{0 if suffix == '.npy' else 12:06d}{suffix}").unlink()
    gone = [12] if suffix == ".mp4" else list(range(SHARD))
    assert folder.missing(COUNT) == gone
    told.clear()
    assert folder.fill(COUNT, Maker(), told.append) == len(gone)  # the others of the shard are made again for company
    assert told == ([0, 1, 0, 0] if suffix == ".mp4" else [10, 10, 10, SHARD - 30])
    assert folder.missing(COUNT) == []


def test_videos_of_another_seed_are_not_mixed_in(tmp_path):
    VideoFolder(tmp_path, {"seed": 0}, ".npy", 5.0)
    with pytest.raises(MismatchError, match="seed = 0, now it is 1"):
        VideoFolder(tmp_path, {"seed": 1}, ".npy", 5.0)
    VideoFolder(tmp_path, {"seed": 0}, ".npy", 6.0)  # an array has no rate


def test_a_folder_of_other_files_and_another_format_are_refused(tmp_path):
    (tmp_path / "holiday.mp4").write_text("mine")
    with pytest.raises(DataError, match="new folder"):
        VideoFolder(tmp_path, {}, ".mp4", 5.0)
    with pytest.raises(ConfigError, match=r"\.mp4, \.npy"):
        VideoFolder(tmp_path / "new", {}, ".gif", 5.0)
    assert not (tmp_path / "new").exists()
