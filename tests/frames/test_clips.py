from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moso.errors import ConfigError, DataError
from moso.frames.cache import FrameCache, FrameCacheWriter
from moso.frames.clips import Buffers, Clip, Clips, mean_image, to_float, to_uint8, windows


def test_a_clips_id_names_episode_and_first_frame_and_parses_back() -> None:
    assert Clip("seed_000123", 4).id == "seed_000123@00004"
    for clip in (Clip("seed_000123", 4), Clip("a@b", 123456)):
        assert Clip.parse(clip.id) == clip


@pytest.mark.parametrize("text", ["seed_000123", "seed@", "@00004", "seed@-1", "seed@x", "seed@²"])
def test_other_text_is_no_clip_id(text: str) -> None:
    with pytest.raises(DataError, match="no clip id"):
        Clip.parse(text)


def test_windows_are_all_that_fit_inside_each_episode(cache: FrameCache) -> None:
    # train: e_0 (5 frames), e_1 (4), e_3 (7), e_6 (2)
    found = [(c.episode_id, c.first_frame) for c in windows(cache, "train", 4)]
    assert found == [("e_0", 0), ("e_0", 1), ("e_1", 0), ("e_3", 0), ("e_3", 1), ("e_3", 2), ("e_3", 3)]
    assert [c.id for c in windows(cache, "train", 2, stride=2)] == [
        "e_0@00000", "e_0@00002", "e_1@00000", "e_1@00002", "e_3@00000", "e_3@00002", "e_3@00004", "e_6@00000",
    ]  # fmt: skip
    assert windows(cache, "test", 8) == []


def test_windows_of_no_split_or_no_length_are_refused(cache: FrameCache) -> None:
    with pytest.raises(ConfigError, match="it has: test, train, validation"):
        windows(cache, "eval", 2)
    for clip_frames, stride in ((0, 1), (2, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            windows(cache, "train", clip_frames, stride)


def test_a_batch_holds_the_clips_frames_whatever_shards_they_lie_in(cache: FrameCache, videos: list[Any]) -> None:
    by_id = {video.episode_id: video.frames for video in videos}
    for clip_frames in (1, 2, 4):
        clips = [c for split in ("test", "train", "validation") for c in windows(cache, split, clip_frames)]
        data = Clips(cache, clips, clip_frames)
        assert len(data) == len(clips)
        order = np.random.default_rng(0).permutation(len(clips))
        batch = data.batch(order)
        assert batch.dtype == torch.uint8
        assert batch.shape == (len(clips), clip_frames, 4, 6, 3)
        for i, video in zip(order, batch.numpy(), strict=True):
            clip = clips[i]
            assert np.array_equal(video, by_id[clip.episode_id][clip.first_frame :][:clip_frames])


def test_a_batch_is_a_copy_and_may_repeat_a_clip(cache: FrameCache, videos: list[Any]) -> None:
    data = Clips(cache, windows(cache, "train", 2), 2)
    batch = data.batch([1, 1])
    batch[0].zero_()
    assert np.array_equal(batch[1].numpy(), videos[0].frames[1:3])
    assert np.array_equal(data.batch([1])[0].numpy(), videos[0].frames[1:3])
    assert data.batch([]).shape == (0, 2, 4, 6, 3)
    with pytest.raises(IndexError):
        data.batch([len(data)])


@pytest.mark.parametrize("clip", [Clip("e_0", 2), Clip("e_0", -1), Clip("e_6", 0), Clip("e_99", 0)])
def test_a_clip_never_crosses_its_episodes_end(clip: Clip, cache: FrameCache) -> None:
    with pytest.raises(DataError):
        Clips(cache, [Clip("e_0", 1), clip], 4)


def test_threads_may_batch_at_once(cache: FrameCache) -> None:
    data = Clips(cache, windows(cache, "train", 2), 2)
    rows = [[i % len(data), (3 * i) % len(data)] for i in range(200)]
    alone = [data.batch(r) for r in rows]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(alone, pool.map(data.batch, rows), strict=True):
            assert torch.equal(one, other)


def test_to_float_scales_to_one_and_puts_channels_first() -> None:
    frames = torch.zeros(1, 2, 2, 2, 3, dtype=torch.uint8)
    frames[0, 1, 0, 1] = torch.tensor([255, 51, 0], dtype=torch.uint8)
    video = to_float(frames)
    assert video.dtype == torch.float32
    assert video.shape == (1, 2, 3, 2, 2)
    assert video.is_contiguous()
    assert torch.equal(video[0, 1, :, 0, 1], torch.tensor([1.0, 0.2, 0.0]))
    assert video.sum() == pytest.approx(1.2)


def test_to_uint8_is_the_inverse_of_to_float_for_every_grey_level() -> None:
    frames = torch.arange(256, dtype=torch.uint8).repeat_interleave(3).reshape(2, 2, 8, 8, 3)
    assert torch.equal(to_uint8(to_float(frames)), frames)


def test_to_uint8_rounds_to_the_nearest_and_clamps() -> None:
    levels = torch.tensor([-0.2, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.7]).expand(1, 1, 3, 1, 5)
    assert to_uint8(levels)[0, 0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]
    assert to_uint8(levels.double()).is_contiguous()


def test_to_uint8_leaves_its_input_as_it_was() -> None:
    frames = torch.full((1, 1, 3, 1, 1), 0.3)
    to_uint8(frames)
    assert torch.equal(frames, torch.full((1, 1, 3, 1, 1), 0.3))


def test_to_float_refuses_frames_that_are_floats_already() -> None:
    with pytest.raises(DataError, match="float32"):
        to_float(torch.zeros(1, 1, 2, 2, 3))


def test_the_mean_image_is_the_mean_over_the_splits_frames_alone(tmp_path: Path) -> None:
    with FrameCacheWriter(tmp_path, height=1, width=2, fps=1.0) as writer:
        writer.add("a", "train", np.full((1, 1, 2, 3), 10, np.uint8))
        writer.add("b", "test", np.full((5, 1, 2, 3), 255, np.uint8))
        writer.add("c", "train", np.array([[[[255, 0, 1]] * 2]] * 2, np.uint8))
    mean = mean_image(FrameCache.open(tmp_path), "train")
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, [[[520 / 3, 10 / 3, 4.0]] * 2], rtol=1e-6)
    with pytest.raises(ConfigError, match="no such split"):
        mean_image(FrameCache.open(tmp_path), "validation")


def test_the_memory_of_a_batch_is_used_again_once_nobody_holds_it(cache: FrameCache) -> None:
    clips = Clips(cache, windows(cache, "train", 2), 2)
    batch = clips.batch([0, 1])
    place = batch.data_ptr()
    del batch
    again = clips.batch([2, 3])
    assert again.data_ptr() == place
    np.testing.assert_array_equal(
        again[0].numpy(), cache.frames(clips.clips[2].episode_id, clips.clips[2].first_frame, 2)
    )


@pytest.mark.parametrize(
    "holder", [lambda b: b, lambda b: b[1:, 0], lambda b: b.numpy(), lambda b: b.detach().view(-1)]
)
def test_a_batch_that_is_held_in_any_form_is_never_written_over(
    cache: FrameCache, holder: Callable[[Any], Any]
) -> None:
    clips = Clips(cache, windows(cache, "train", 2), 2)
    held = holder(clips.batch([0, 1]))
    before = torch.as_tensor(held).clone()
    later = [clips.batch([i, i + 1]) for i in range(4)]
    assert torch.equal(torch.as_tensor(held), before)
    assert len({batch.data_ptr() for batch in later}) == 4


def test_memory_of_another_size_is_not_used_again_and_little_is_kept(cache: FrameCache) -> None:
    clips = Clips(cache, windows(cache, "train", 2), 2)
    assert clips.batch([0, 1]).shape[0] == 2
    assert clips.batch([0, 1, 2]).shape[0] == 3
    assert clips.batch([]).shape[0] == 0
    held = [clips.batch([i]) for i in range(3 * Buffers.KEPT)]
    del held
    assert len(clips._buffers._free) == Buffers.KEPT
