import numpy as np
import pytest
import torch

from moso.errors import DataError, StopRequested
from moso.evaluation.comparison import METHODS, compare, freeze_motion, sampling_seed, select_clips
from moso.evaluation.metrics import psnr, unit_range
from moso.frames.clips import Clip, Clips, mean_image
from moso.step import StopSignal
from moso.tokens.clip_tokens import ClipTokens

K, T, SIZE = 2, 4, 16
ENOUGH = {"max_clips": None, "min_clips": 1, "min_episodes": 1}


@pytest.fixture
def clips(cache):
    return Clips(cache, select_clips(cache, "test", T, **ENOUGH), T)


@pytest.fixture
def comparison(model, cache, clips):
    return compare(model, clips, mean_image=mean_image(cache, "train"), seed=0)


def test_clips_do_not_overlap_and_stay_inside_their_episodes(cache):
    found = select_clips(cache, "test", T, **ENOUGH)
    # Three episodes of ten frames: two clips of four each, two frames left over.
    assert [(c.episode_id, c.first_frame) for c in found] == [
        (e, first) for e in ("seed_000004", "seed_000005", "seed_000006") for first in (0, 4)
    ]


def test_too_few_clips_or_episodes_are_refused_with_what_was_found(cache):
    with pytest.raises(DataError, match=r"gives 6 clips of 4 frames from 3 episodes.*at least 7 from 1"):
        select_clips(cache, "test", T, **{**ENOUGH, "min_clips": 7})
    with pytest.raises(DataError, match=r"at least 1 from 4"):
        select_clips(cache, "test", T, **{**ENOUGH, "min_episodes": 4})
    # Four clips are asked for and there, but of two episodes only.
    with pytest.raises(DataError, match="4 clips of 4 frames from 2 episodes"):
        select_clips(cache, "test", T, max_clips=4, min_clips=4, min_episodes=3)


def test_values_of_repeat_last_equal_those_worked_out_from_the_frames(comparison, clips):
    whole = unit_range(clips.batch(range(len(clips))))
    expected = psnr(whole[:, K - 1 : K].expand(-1, T - K, -1, -1, -1), whole[:, K:])
    np.testing.assert_allclose(comparison.values["psnr"]["repeat_last"], expected, rtol=1e-9)


def test_values_of_the_model_are_those_of_its_videos(comparison, model, clips):
    whole = clips.batch(range(len(clips))).numpy()
    truth = unit_range(torch.from_numpy(whole[:, K:]))
    seeds = [sampling_seed(0, clip) for clip in clips.clips]
    videos = {
        "prediction": model.predict(whole[:, :K], seed=seeds),
        "reconstruction": model.reconstruct(whole)[:, K:],
        "motion_frozen": model.decode(freeze_motion(model.encode(whole)))[:, K:],
    }
    for method, video in videos.items():
        expected = psnr(unit_range(torch.from_numpy(video)), truth)
        np.testing.assert_allclose(comparison.values["psnr"][method], expected, rtol=1e-6)


def test_predictions_are_handed_out_as_they_were_scored(model, cache, clips):
    kept = np.zeros((len(clips), T - K, SIZE, SIZE, 3), np.uint8)
    comparison = compare(model, clips, mean_image=mean_image(cache, "train"), seed=0, predictions=kept)
    truth = unit_range(clips.batch(range(len(clips))))[:, K:]
    again = psnr(unit_range(torch.from_numpy(kept)), truth)
    np.testing.assert_allclose(comparison.values["psnr"]["prediction"], again, rtol=1e-9)


def test_batch_changes_no_value_and_a_clip_keeps_its_sample_in_other_company(comparison, model, cache, clips):
    model.batch = 4
    in_fours = compare(model, clips, mean_image=mean_image(cache, "train"), seed=0)
    some = compare(model, Clips(cache, clips.clips[3:5], T), mean_image=mean_image(cache, "train"), seed=0)
    for metric, methods in comparison.values.items():
        for method, values in methods.items():
            np.testing.assert_array_equal(in_fours.values[metric][method], values)
            np.testing.assert_array_equal(some.values[metric][method], values[3:5])


def test_tables_hold_a_row_a_clip_and_method_and_a_row_a_frame_and_method(comparison):
    rows = comparison.per_clip()
    assert list(rows.columns) == ["clip_id", "episode_id", "first_frame", "method", "psnr", "ssim"]
    assert len(rows) == 6 * len(METHODS)
    curves = comparison.per_frame()
    assert curves[curves["method"] == "hedge"]["frame"].tolist() == [3, 4]
    for method in METHODS:
        overall = comparison.values["psnr"][method].mean()
        assert rows[rows["method"] == method]["psnr"].mean() == pytest.approx(overall)
        assert curves[curves["method"] == method]["psnr"].mean() == pytest.approx(overall)


def test_frozen_motion_is_the_first_frames_in_every_frame():
    motion = torch.arange(2 * 3 * 4).reshape(2, 3, 2, 2)
    still = torch.zeros(2, 1, 1, dtype=torch.int64)
    frozen = freeze_motion(ClipTokens(scene=still, object=still, motion=motion))
    for t in range(3):
        assert torch.equal(frozen.motion[:, t], motion[:, 0])


def test_sampling_seed_depends_on_seed_and_clip_alone():
    clip = Clip("seed_000123", 4)
    assert sampling_seed(0, clip) == sampling_seed(0, Clip("seed_000123", 4))
    assert len({sampling_seed(0, clip), sampling_seed(1, clip), sampling_seed(0, Clip("seed_000123", 16))}) == 3
    assert 0 <= sampling_seed(0, clip) < 2**31


def test_stop_signal_ends_the_work_between_batches(model, cache, clips):
    stop = StopSignal()
    stop.set()
    with pytest.raises(StopRequested):
        compare(model, clips, mean_image=mean_image(cache, "train"), seed=0, stop=stop)
