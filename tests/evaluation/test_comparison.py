"""Clips, methods and their figures: held against values worked out from the frames and the model's own videos."""

import numpy as np
import pytest
import torch

from moso.config import build
from moso.errors import DataError, StopRequested
from moso.evaluation.asked import made_for, title_of
from moso.evaluation.ceiling import freeze_motion, starts, windowed
from moso.evaluation.comparison import compare, score_methods, select_clips
from moso.evaluation.measures import measures_of
from moso.evaluation.metrics import psnr, unit_range
from moso.evaluation.protocol_file import ProtocolFile
from moso.evaluation.seeds import sampling_seed
from moso.evaluation.task import task_of
from moso.evaluation.trials import run_trials
from moso.frames.clips import Clip, Clips, mean_image
from moso.step import StopSignal
from moso.tokens.clip_tokens import ClipTokens

K, T, SIZE = 2, 4, 16
METHODS = ("prediction", "repeat_last", "mean_given", "linear", "hedge", "reconstruction", "motion_frozen")


def asked(**changes):
    fields = {**made_for("squares", K, T, SIZE, SIZE), "metrics": ["psnr", "ssim"], **changes}
    return build(ProtocolFile, {"title": title_of(fields), **fields})


def measured(model, cache, chosen, work, *, batch=8, stop=None, **changes):
    """The comparison of some clips, and its trials."""
    model.batch = batch
    protocol = asked(**changes)
    task = task_of(model, protocol, None, lambda: mean_image(cache, "train"))
    clips = Clips(cache, chosen, task.clip_frames)
    scores = measures_of(protocol.metrics, len(task.scored), "cpu").scores
    trials = run_trials(
        task.draw, clips, task.scored, samples=protocol.samples_per_video, seed=0, scores=scores, features={},
        work=work, identity={}, batch=batch, keep_videos=True,
    )  # fmt: skip
    others = score_methods(task, clips, scores, batch=batch, stop=stop)
    return compare(task, clips, trials, others, best_of=protocol.best_of), trials


@pytest.fixture
def chosen(cache):
    return select_clips(cache, "test", T)


@pytest.fixture
def clips(cache, chosen):
    return Clips(cache, chosen, T)


@pytest.fixture
def comparison(model, cache, chosen, tmp_path):
    return measured(model, cache, chosen, tmp_path)[0]


def test_clips_do_not_overlap_and_stay_inside_their_episodes(cache):
    found = select_clips(cache, "test", T)
    # Three episodes of ten frames: two clips of four each, two frames left over.
    assert [(c.episode_id, c.first_frame) for c in found] == [
        (e, first) for e in ("seed_000004", "seed_000005", "seed_000006") for first in (0, 4)
    ]


def test_too_few_clips_or_episodes_are_refused_with_what_was_found(cache):
    with pytest.raises(DataError, match=r"gives 6 clips of 4 frames from 3 episodes.*at least 7 from 1"):
        select_clips(cache, "test", T, min_clips=7)
    with pytest.raises(DataError, match=r"at least 1 from 4"):
        select_clips(cache, "test", T, min_episodes=4)
    # Two clips are asked for and there: evenly spread, they are of two episodes.
    with pytest.raises(DataError, match="2 clips of 4 frames from 2 episodes"):
        select_clips(cache, "test", T, videos=2, min_clips=2, min_episodes=3)


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


def test_videos_are_kept_as_they_were_scored(model, cache, chosen, clips, tmp_path):
    comparison, trials = measured(model, cache, chosen, tmp_path)
    truth = unit_range(clips.batch(range(len(clips))))[:, K:]
    again = psnr(unit_range(torch.from_numpy(np.array(trials.videos))), truth)
    np.testing.assert_allclose(comparison.values["psnr"]["prediction"], again, rtol=1e-9)


def test_batch_changes_no_value_and_a_clip_keeps_its_sample_in_other_company(
    comparison, model, cache, chosen, tmp_path
):
    in_fours, _ = measured(model, cache, chosen, tmp_path / "fours", batch=4)
    some, _ = measured(model, cache, chosen[3:5], tmp_path / "some")
    for metric, methods in comparison.values.items():
        for method, values in methods.items():
            np.testing.assert_array_equal(in_fours.values[metric][method], values)
            np.testing.assert_array_equal(some.values[metric][method], values[3:5])


def test_methods_and_metrics_come_in_the_order_of_tables(comparison):
    assert comparison.methods == METHODS
    assert comparison.baselines == METHODS[1:5]
    assert comparison.metrics == ("psnr", "ssim")
    assert comparison.frames == [3, 4]


def test_tables_hold_a_row_a_clip_method_and_sample_and_a_row_a_frame_and_method(comparison):
    rows = comparison.per_clip()
    assert list(rows.columns) == ["clip_id", "episode_id", "first_frame", "method", "sample", "psnr", "ssim"]
    assert len(rows) == 6 * len(METHODS)
    bands = comparison.bands(seed=0, resamples=200)
    curves = comparison.per_frame(bands)
    assert curves[curves["method"] == "hedge"]["frame"].tolist() == [3, 4]
    assert (curves["psnr_low"] <= curves["psnr"]).all()
    assert (curves["psnr"] <= curves["psnr_high"]).all()
    for method in METHODS:
        overall = comparison.values["psnr"][method].mean()
        assert rows[rows["method"] == method]["psnr"].mean() == pytest.approx(overall)
        assert curves[curves["method"] == method]["psnr"].mean() == pytest.approx(overall)


def test_the_best_of_several_samples_counts_and_every_sample_has_its_row(model, cache, chosen, tmp_path):
    comparison, trials = measured(
        model, cache, chosen, tmp_path, samples_per_video=3, best_of="each_metric_over_video_mean"
    )
    mean, _ = measured(model, cache, chosen, tmp_path / "mean", samples_per_video=3)
    rows = comparison.per_clip()
    drawn = rows[rows["method"] == "prediction"]
    assert len(drawn) == 6 * 3
    assert (rows[rows["method"] != "prediction"]["sample"] == 0).all()
    by_clip = drawn.groupby("clip_id", sort=False)["psnr"]
    np.testing.assert_allclose(comparison.of_clips("psnr", "prediction"), by_clip.max())
    np.testing.assert_allclose(mean.of_clips("psnr", "prediction"), by_clip.mean())
    assert (by_clip.max() > by_clip.min()).any()
    assert trials.values["psnr"].shape == (6, 3, 2)


def test_beyond_a_clip_the_ceiling_is_that_of_the_window_which_draws_the_frame(model, cache, tmp_path):
    chosen = select_clips(cache, "test", 9)  # two given, seven predicted: windows of frames 1-4, 3-6, 5-8, 6-9
    comparison, trials = measured(model, cache, chosen, tmp_path, predicted_frames=7)
    whole = Clips(cache, chosen, 9).batch(range(len(chosen))).numpy()
    assert starts(9, T, K) == [0, 2, 4, 5]
    expected = np.concatenate(
        [
            model.reconstruct(whole[:, 0:4])[:, 2:],
            model.reconstruct(whole[:, 2:6])[:, 2:],
            model.reconstruct(whole[:, 4:8])[:, 2:],
            model.reconstruct(whole[:, 5:9])[:, 3:],
        ],
        axis=1,
    )
    found = windowed(model, whole, range(K, 9), {"reconstruction": model.decode})["reconstruction"]
    np.testing.assert_array_equal(found, expected)
    assert comparison.values["psnr"]["reconstruction"].shape == (len(chosen), 7)
    seeds = [sampling_seed(0, clip) for clip in chosen]
    np.testing.assert_array_equal(trials.videos, model.rollout(whole[:, :K], 7, seed=seeds, fade=False))
    _, drawn = measured(model, cache, chosen, tmp_path / "faded", predicted_frames=7, fade=True)
    np.testing.assert_array_equal(drawn.videos, model.rollout(whole[:, :K], 7, seed=seeds))


def test_given_frames_that_count_are_perfect_and_scored_with_the_rest(comparison, model, cache, chosen, tmp_path):
    counted, trials = measured(model, cache, chosen, tmp_path, given_frames_count=True)
    assert counted.frames == [1, 2, 3, 4]
    for method in ("prediction", "repeat_last", "linear", "hedge"):
        assert (counted.values["psnr"][method][:, :K] == 100).all()
        np.testing.assert_array_equal(counted.values["psnr"][method][:, K:], comparison.values["psnr"][method])
    assert (counted.values["psnr"]["reconstruction"][:, :K] < 100).all()
    assert trials.videos.shape[1] == T


def test_interpolation_is_scored_on_the_frames_that_were_not_given(model, cache, chosen, clips, tmp_path):
    comparison, trials = measured(
        model, cache, chosen, tmp_path, task="interpolation", given_frames=2, predicted_frames=2
    )
    assert comparison.methods == ("interpolation", "hold", "blend", "reconstruction", "motion_frozen")
    assert comparison.frames == [2, 4]
    whole = clips.batch(range(len(clips))).numpy()
    seeds = [sampling_seed(0, clip) for clip in chosen]
    np.testing.assert_array_equal(trials.videos, model.interpolate(whole, [0, 2], seed=seeds)[:, [1, 3]])
    truth = unit_range(torch.from_numpy(whole[:, [1, 3]]))
    held = unit_range(torch.from_numpy(whole[:, [0, 2]]))
    np.testing.assert_allclose(comparison.values["psnr"]["hold"], psnr(held, truth), rtol=1e-9)


def test_reconstruction_is_scored_on_every_frame(model, cache, chosen, clips, tmp_path):
    comparison, trials = measured(
        model, cache, chosen, tmp_path, task="reconstruction", given_frames=0, predicted_frames=T
    )
    assert comparison.methods == ("reconstruction", "motion_frozen")
    np.testing.assert_array_equal(trials.videos, model.reconstruct(clips.batch(range(len(clips))).numpy()))


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


def test_stop_signal_ends_the_work_between_batches(model, cache, chosen, tmp_path):
    stop = StopSignal()
    stop.set()
    with pytest.raises(StopRequested):
        measured(model, cache, chosen, tmp_path, stop=stop)
