"""What Stage I alone can do, scored as everything else is."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from moso.errors import StopRequested
from moso.evaluation.reconstruction import reconstruct_clips
from moso.frames.clips import Clips, windows
from moso.step import StopSignal

T = 4


@pytest.fixture
def clips(cache):
    return Clips(cache, windows(cache, "test", T, T), T)


def test_values_are_those_of_the_frames_that_the_model_facade_draws(model, clips):
    found = reconstruct_clips(model.vqvae, clips)
    truth = clips.batch(list(range(len(clips)))).numpy()
    drawn = model.reconstruct(truth)
    for clip, frame in ((0, 0), (3, 2), (len(clips) - 1, T - 1)):
        expected = peak_signal_noise_ratio(truth[clip, frame], drawn[clip, frame], data_range=255)
        assert found.values["psnr"][clip, frame] == pytest.approx(expected, abs=1e-4)
    assert found.values["ssim"].shape == (len(clips), T)
    assert found.mean("psnr") == pytest.approx(found.values["psnr"].mean())


def test_the_codes_in_use_are_counted_once_each_over_all_clips(model, clips):
    tokens = model.encode(clips.batch(list(range(len(clips)))).numpy())
    used = {int(token) for part in (tokens.scene, tokens.object, tokens.motion) for token in part.flatten()}
    assert reconstruct_clips(model.vqvae, clips, batch=1).codes_used == len(used)


def test_the_batch_changes_no_value(model, clips):
    one, all_at_once = (reconstruct_clips(model.vqvae, clips, batch=n).values["psnr"] for n in (1, len(clips)))
    assert np.allclose(one, all_at_once, atol=0.05)  # a pixel may round the other way


def test_the_stop_signal_ends_the_work_between_two_batches(model, clips):
    stop = StopSignal()
    stop.set()
    with pytest.raises(StopRequested), torch.inference_mode():
        reconstruct_clips(model.vqvae, clips, stop=stop)
