"""Windows of a protocol's rule: by names and lengths alone, MCnet's as its own code counts them."""

import os
from pathlib import Path

import numpy as np
import pytest

from moso.errors import ConfigError, DataError
from moso.evaluation.protocol_file import WindowRule, load_protocol
from moso.evaluation.windows import evaluated_windows, first_frames, in_words
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips
from moso.frames.writer import FrameCacheWriter

LISTS = Path("/work/shared/lists")


@pytest.fixture
def cache(tmp_path):
    """A cache of 1 x 1 frames in `split`: name -> number of frames, written in that order."""

    def write(frames, split="test"):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with FrameCacheWriter(folder, height=1, width=1, fps=10.0) as writer:
            for name, count in frames.items():
                writer.add(name, split, np.zeros((count, 1, 1, 3), np.uint8))
        return FrameCache.open(folder)

    return write


def ids(clips):
    return [clip.id for clip in clips]


def test_windows_do_not_overlap_by_default_and_never_leave_their_episode(cache):
    frames = cache({"a": 13, "b": 11, "c": 3})
    found = evaluated_windows(frames, "test", WindowRule(), 4)
    assert ids(found) == ["a@00000", "a@00004", "a@00008", "b@00000", "b@00004"]
    Clips(frames, found, 4)  # refuses a clip that does not lie inside


def test_order_is_that_of_the_names_however_the_cache_was_written(cache):
    one, other = cache({"a": 8, "b": 8, "c": 8}), cache({"c": 8, "a": 8, "b": 8})
    assert evaluated_windows(one, "test", WindowRule(), 4) == evaluated_windows(other, "test", WindowRule(), 4)


def test_first_takes_one_window_an_episode(cache):
    found = evaluated_windows(cache({"a": 30, "b": 12, "c": 11}), "test", WindowRule(rule="first", start=1), 11)
    assert ids(found) == ["a@00001", "b@00001"]


def test_a_rules_own_stride_start_and_unused_end():
    rule = WindowRule(stride=2, start=1, skip_end=3)
    assert list(first_frames(rule, "a", 12, 4)) == [1, 3, 5]  # 5 + 4 = 9 = 12 - 3
    assert list(first_frames(rule, "a", 11, 4)) == [1, 3]


def mcnet(first, last, action, given=10, predicted=40):
    """First frames, counted from 1 in the file, as MCnet's test takes them: j from 0 in the file, its loop's bounds."""
    step = 3 if action in ("running", "jogging") else predicted
    return [j + 1 for j in range(first, last - given - predicted - 1, step)]


@pytest.mark.parametrize("action", ["boxing", "running", "jogging", "walking", "handwaving"])
@pytest.mark.parametrize(("first", "last"), [(1, 52), (1, 53), (17, 120), (96, 185), (5, 211)])
def test_kths_windows_are_mcnets(action, first, last):
    protocol = load_protocol("kth/64")
    name = f"person17_{action}_d3/{first:04d}-{last:04d}"
    firsts = first_frames(protocol.windows, name, last - first + 1, protocol.given_frames + protocol.predicted_frames)
    assert [first + index for index in firsts] == mcnet(first, last, action)


@pytest.mark.skipif(not LISTS.is_dir() and "MOSO_LISTS" not in os.environ, reason="the published lists are not here")
def test_mcnets_published_test_ranges_give_mcnets_number_of_clips(cache):
    lines = (Path(os.environ.get("MOSO_LISTS", LISTS)) / "kth_mcnet_test.txt").read_text().split("\n")
    ranges = [(name, int(a), int(b)) for name, a, b in (line.split() for line in lines if line.strip())]
    frames = {f"{name}/{a:04d}-{b:04d}": b - a + 1 for name, a, b in ranges}
    found = evaluated_windows(cache(frames), "test", load_protocol("kth/128").windows, 50)
    expected = {(name, first) for name, a, b in ranges for first in mcnet(a, b, name.split("_")[1])}
    assert {(c.episode_id.split("/")[0], int(c.episode_id[-9:-5]) + c.first_frame) for c in found} == expected


def test_videos_are_spread_evenly_over_the_windows(cache):
    whole = cache({f"e{i}": 4 for i in range(10)})
    found = evaluated_windows(whole, "test", WindowRule(), 4, videos=4)
    assert [clip.episode_id for clip in found] == ["e0", "e2", "e5", "e7"]  # floor(10 i / 4)
    every = evaluated_windows(whole, "test", WindowRule(), 4, videos=10)
    assert every == evaluated_windows(whole, "test", WindowRule(), 4)


def test_more_videos_than_windows_are_refused_and_the_error_says_what_to_do(cache):
    with pytest.raises(DataError, match=r"asks for 256 videos.*has 2.*evaluate\.protocol\.videos to 2"):
        evaluated_windows(cache({"a": 4, "b": 7}), "test", WindowRule(), 4, videos=256)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(cache):
    with pytest.raises(ConfigError, match="it has: train"):
        evaluated_windows(cache({"a": 4}, split="train"), "test", WindowRule(), 4)


@pytest.mark.parametrize("change", [{"length": 0}, {"length": 4, "videos": 0}])
def test_a_length_or_number_below_one_is_refused(cache, change):
    with pytest.raises(ConfigError, match="at least 1"):
        evaluated_windows(cache({"a": 4}), "test", WindowRule(), **change)


def test_words_say_all_that_the_rule_says():
    words = in_words(load_protocol("kth/64").windows, 50)
    for part in ("50 frames", "40 frames apart", "3 frames apart in *_running_*", "frame 2", "last 2 frames unused"):
        assert part in words
    assert "none overlap" in in_words(WindowRule(), 12)
    assert "first window" in in_words(WindowRule(rule="first"), 12)
    rules = [WindowRule(), WindowRule(stride=3), WindowRule(start=1), WindowRule(skip_end=1), WindowRule(rule="first")]
    assert len({in_words(rule, 12) for rule in rules}) == len(rules)
