"""Losses against hand-made numbers and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from moso.errors import ConfigError
from moso.vqvae.losses import LossConfig, psnr, reconstruction_terms, ssim


def _images(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _skimage(a, b):
    """The same window and constants; the mean where the window lies wholly inside."""
    _, image = structural_similarity(
        a.numpy(),
        b.numpy(),
        data_range=1,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return image[:, 5:-5, 5:-5].mean()


@pytest.mark.parametrize("size", [(11, 11), (16, 40)])
def test_ssim_equals_scikit_images(size):
    a = _images(0, 3, 3, *size)
    b = (a + 0.2 * (_images(1, 3, 3, *size) - 0.5)).clamp(0, 1)
    assert float(ssim(a, b)) == pytest.approx(np.mean([_skimage(x, y) for x, y in zip(a, b, strict=True)]), abs=2e-5)


def test_an_image_is_like_itself():
    a = _images(2, 2, 3, 16, 16)
    assert float(ssim(a, a)) == pytest.approx(1, abs=1e-6)


def test_ssim_has_the_gradient_of_its_value():
    a, b = _images(3, 1, 1, 12, 12).requires_grad_(), _images(4, 1, 1, 12, 12)
    ssim(a, b).backward()
    step = torch.zeros_like(a)
    step[0, 0, 5, 6] = 1e-2
    with torch.no_grad():
        slope = (ssim(a + step, b) - ssim(a - step, b)) / 2e-2
    assert float(a.grad[0, 0, 5, 6]) == pytest.approx(float(slope), rel=0.02)


def test_frames_smaller_than_the_window_are_refused():
    with pytest.raises(ConfigError, match=r"ssim = 10: frames must have at least 11 pixels"):
        ssim(_images(0, 1, 3, 16, 10), _images(1, 1, 3, 16, 10))


def test_terms_and_weights_by_hand():
    """Half of the pixels off by 0.5: L1 0.25, L2 0.125."""
    frames = torch.zeros(1, 2, 3, 12, 12)
    drawn = frames.clone()
    drawn[:, 0] = 0.5
    one = reconstruction_terms(LossConfig("l1", reconstruction_weight=2.0), drawn, frames)
    two = reconstruction_terms(LossConfig("l2", ssim=0.3), drawn, frames)
    assert {name: (weight, float(term)) for name, (weight, term) in one.items()} == {"l1": (2.0, 0.25)}
    assert two["l2"] == (1.0, torch.tensor(0.125))
    weight, dissimilarity = two["dissimilarity"]
    # constant frames of 0.5 and 0: (c1) / (0.25 + c1), and 1 for those that are equal
    assert weight == 0.3
    assert float(dissimilarity) == pytest.approx(1 - (1 + 1e-4 / (0.25 + 1e-4)) / 2, abs=1e-5)


def test_psnr_is_ten_for_a_squared_error_of_a_tenth_and_clamps_first():
    frames = torch.zeros(1, 1, 8, 8)
    assert float(psnr(frames + 0.1**0.5, frames)) == pytest.approx(10, abs=1e-4)
    assert float(psnr(frames - 3.0, frames)) == pytest.approx(100, abs=1e-4)
