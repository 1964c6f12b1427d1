"""Many samples of each clip: which is best, worked out by hand; a run that was broken off goes on to the same end."""

import json

import numpy as np
import pytest
import torch

from moso.errors import ConfigError, DataError, StopRequested
from moso.evaluation.metrics import psnr, unit_range
from moso.evaluation.seeds import sampling_seed
from moso.evaluation.trials import Trials, run_trials
from moso.frames.clips import Clips, windows
from moso.step import StopSignal

K, T = 2, 4
SAMPLES = 3


def psnr_of(frames, truth):
    return psnr(unit_range(torch.from_numpy(frames)), unit_range(torch.from_numpy(truth))).numpy()


def mean_colour(videos):
    return videos.mean(axis=(1, 2, 3), dtype=np.float64)


@pytest.fixture
def clips(cache):
    return Clips(cache, windows(cache, "test", 7, 7), 7)  # 5 frames to predict: three clips of the model


def trials(
    model, clips, work, *, batch=1, samples=SAMPLES, score=psnr_of, stop=None, identity=None, scored=range(K, 7)
):  # fmt: skip
    model.batch = batch

    def draw(whole, seeds, count):
        return model.trials(whole[:, :K], count, 5, seed=seeds)

    return run_trials(
        draw, clips, scored, samples=samples, seed=4, scores={"psnr": score}, features={"colour": mean_colour},
        work=work, identity=identity or {"model": "m"}, batch=batch, keep_videos=True, stop=stop,
    )  # fmt: skip


def test_best_sample_is_taken_by_the_mean_over_its_video_and_by_each_metric_alone():
    # Clip 0: sample means 2, 3, 2.5; clip 1: 5, 1, 4. The best single frame (9) is of a video that is not the best.
    values = np.array([[[1, 3], [3, 3], [-4, 9]], [[5, 5], [1, 1], [4, 4]]], np.float64)
    made = Trials({"psnr": values, "lpips_vgg": values}, {}, {})
    assert made.best("psnr", higher_is_better=True).tolist() == [1, 0]
    assert made.best("lpips_vgg", higher_is_better=False).tolist() == [0, 1]


def test_each_sample_is_the_rollout_of_its_own_seed(model, clips, tmp_path):
    made = trials(model, clips, tmp_path)
    assert made.values["psnr"].shape == (len(clips), SAMPLES, 5)
    whole = clips.batch(range(len(clips))).numpy()
    for number in range(SAMPLES):
        seeds = [sampling_seed(4, clip) + number for clip in clips.clips]
        alone = model.rollout(whole[:, :K], 5, seed=seeds)
        np.testing.assert_allclose(made.values["psnr"][:, number], psnr_of(alone, whole[:, K:]), rtol=1e-6)
        np.testing.assert_allclose(made.features["colour"][:, number], mean_colour(alone), rtol=1e-6)
    np.testing.assert_allclose(made.true_features["colour"], mean_colour(whole[:, K:]), rtol=1e-6)
    first = model.rollout(whole[:, :K], 5, seed=[sampling_seed(4, clip) for clip in clips.clips])
    np.testing.assert_array_equal(made.videos, first)


def test_run_that_was_broken_off_goes_on_behind_its_last_whole_block(model, clips, tmp_path):
    scored = []

    def counted(frames, truth):
        scored.append(len(frames))
        if len(scored) == SAMPLES + 2:  # in the middle of the second clip
            raise KeyboardInterrupt
        return psnr_of(frames, truth)

    with pytest.raises(KeyboardInterrupt):
        trials(model, clips, tmp_path / "broken", score=counted)
    assert json.loads((tmp_path / "broken" / "plan.json").read_text())["clips_done"] == 1
    resumed = trials(model, clips, tmp_path / "broken", score=counted)
    assert sum(scored) == len(clips) * SAMPLES + 2  # nothing of the first clip again, all of the second
    undisturbed = trials(model, clips, tmp_path / "undisturbed")
    np.testing.assert_array_equal(resumed.values["psnr"], undisturbed.values["psnr"])
    np.testing.assert_array_equal(resumed.features["colour"], undisturbed.features["colour"])
    trials(model, clips, tmp_path / "broken", score=counted)
    assert sum(scored) == len(clips) * SAMPLES + 2  # nor anything of a whole run


def test_figures_of_another_model_are_never_gone_on_with(model, clips, tmp_path):
    first = np.array(trials(model, clips, tmp_path).values["psnr"])
    scored = []

    def counted(frames, truth):
        scored.append(len(frames))
        return psnr_of(frames, truth) + 1

    other = trials(model, clips, tmp_path, score=counted, identity={"model": "another"})
    assert sum(scored) == len(clips) * SAMPLES
    np.testing.assert_allclose(other.values["psnr"], first + 1, rtol=1e-6)


def test_never_more_than_a_batch_of_videos_is_scored_at_once(model, clips, tmp_path):
    sizes = []

    def counted(frames, truth):
        sizes.append(len(frames))
        return psnr_of(frames, truth)

    trials(model, clips, tmp_path, batch=2, samples=5, score=counted)
    assert max(sizes) == 2
    assert sum(sizes) == len(clips) * 5


def test_stop_between_two_blocks_keeps_the_first(model, clips, tmp_path):
    stop, scored = StopSignal(), []

    def then_stop(frames, truth):
        scored.append(len(frames))
        if len(scored) == SAMPLES:
            stop.set()
        return psnr_of(frames, truth)

    with pytest.raises(StopRequested, match=r"1 of 3 clips are kept"):
        trials(model, clips, tmp_path, score=then_stop, stop=stop)


def test_a_drawing_of_too_few_samples_is_refused_and_never_counts_as_zero(model, clips, tmp_path):
    def one_alone(whole, seeds, count):
        return model.trials(whole[:, :K], 1, 5, seed=seeds)

    with pytest.raises(DataError, match="values-psnr: a figure of clips 0 to 0 is missing"):
        run_trials(
            one_alone, clips, range(K, 7), samples=2, seed=4, scores={"psnr": psnr_of}, features={},
            work=tmp_path, identity={}, batch=1,
        )  # fmt: skip


def test_no_sample_and_nothing_to_predict_are_refused(model, clips, tmp_path):
    with pytest.raises(ConfigError, match="samples_per_video"):
        trials(model, clips, tmp_path, samples=0)
    with pytest.raises(ConfigError, match="predicted_frames"):
        trials(model, clips, tmp_path, scored=())
