import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from moso.evaluation.metrics import psnr, ssim, unit_range


@pytest.fixture
def pair():
    """Two clips of uint8 frames: noise on a ramp, and the same with a smaller noise on top."""
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 24)[None, None, None, :, None] + np.zeros((2, 3, 20, 24, 3))
    truth = (ramp + random.integers(0, 50, ramp.shape)).astype(np.uint8)
    other = np.clip(truth.astype(int) + random.integers(-30, 31, truth.shape), 0, 255).astype(np.uint8)
    return other, truth


def as_tensor(frames):
    return unit_range(torch.from_numpy(frames))


def test_psnr_equals_scikit_image_frame_by_frame(pair):
    other, truth = pair
    expected = [
        [peak_signal_noise_ratio(t, o, data_range=255) for t, o in zip(*clip, strict=True)]
        for clip in zip(truth, other, strict=True)
    ]
    np.testing.assert_allclose(psnr(as_tensor(other), as_tensor(truth)), expected, rtol=1e-6)


def test_ssim_equals_scikit_image_frame_by_frame(pair):
    other, truth = pair
    settings = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 1.0,
        "channel_axis": -1,
    }
    expected = [
        [structural_similarity(t / 255, o / 255, **settings) for t, o in zip(*clip, strict=True)]
        for clip in zip(truth, other, strict=True)
    ]
    np.testing.assert_allclose(ssim(as_tensor(other), as_tensor(truth)), expected, atol=2e-6)


def test_ssim_is_exact_on_flat_bright_frames_where_variances_vanish():
    truth = torch.full((1, 1, 3, 16, 16), 0.98)
    other = torch.full((1, 1, 3, 16, 16), 0.90)
    # No variance on either side: the structure term is 1, what remains is the luminance term.
    expected = (2 * 0.98 * 0.90 + 1e-4) / (0.98**2 + 0.90**2 + 1e-4)
    assert ssim(other, truth).item() == pytest.approx(expected, abs=1e-6)


def test_psnr_of_a_known_error():
    truth = torch.zeros(1, 2, 3, 12, 12)
    other = truth.clone()
    other[0, 0] = 0.1  # MSE 0.01: 20 dB
    other[0, 1, 0] = 0.3  # one channel of three: MSE 0.03
    np.testing.assert_allclose(psnr(other, truth)[0], [20.0, -10 * np.log10(0.03)], atol=1e-5)


def test_identical_frames_get_100_db_and_ssim_1():
    frames = torch.rand(1, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert psnr(frames, frames).tolist() == [[100.0, 100.0]]
    np.testing.assert_allclose(ssim(frames, frames), 1.0, atol=1e-6)


def test_mean_of_frames_is_not_the_clips_joint_psnr():
    truth = torch.zeros(1, 2, 3, 12, 12)
    other = truth.clone()
    other[0, 1] = 0.1
    # 100 dB and 20 dB: 60 by frame; jointly -10 log10(0.005) = 23.
    assert psnr(other, truth).mean().item() == pytest.approx(60.0, abs=1e-4)


def test_ssim_refuses_frames_smaller_than_its_window():
    small = torch.zeros(1, 1, 3, 10, 16)
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(small, small)
