"""PatchGANs: their size by hand, what they look at, and the hinge loss."""

import pytest
import torch

from moso.errors import ConfigError
from moso.vqvae.discriminators import AdversarialConfig, PatchDiscriminator, hinge_fool, hinge_real_or_drawn


def _clips(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_pix2pixs_patch_gan():
    """64 -> 32 -> 16 -> 8 by stride 2, then 7 and 6: 6 x 6 patches. 4x4 kernels 36 -> 64 -> 128 -> 256 -> 512 -> 1,
    biases on the first and the last, two numbers a channel in the three norms."""
    network = PatchDiscriminator(36, 64, 3, (64, 64))
    assert network(_clips(0, 2, 36, 64, 64)).shape == (2, 6, 6)
    kernels = 16 * (36 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1)
    assert sum(p.numel() for p in network.parameters()) == kernels + 64 + 1 + 2 * (128 + 256 + 512)
    # the width stops at eight times the first layer's
    assert PatchDiscriminator(3, 8, 5, (128, 128)).layers[-1].in_channels == 64


def test_clips_of_a_batch_do_not_meet():
    """No statistics over the batch: a clip's logits are its own, in training mode too."""
    network = PatchDiscriminator(3, 8, 2, (16, 16)).train()
    clips = _clips(1, 3, 3, 16, 16)
    assert torch.allclose(network(clips)[:1], network(clips[:1]), atol=1e-6)


def test_frames_that_leave_no_patch_are_refused():
    """16 pixels: 4 behind two layers, 2 behind three."""
    assert PatchDiscriminator(3, 8, 2, (16, 16))(_clips(2, 1, 3, 16, 16)).shape == (1, 2, 2)
    with pytest.raises(ConfigError, match=r"adversarial.layers = 3: frames of 16 x 32 .* 2 or less would fit"):
        PatchDiscriminator(3, 8, 3, (16, 32))
    with pytest.raises(ConfigError, match="too small for a discriminator"):
        PatchDiscriminator(3, 8, 1, (4, 4))


def test_hinge_losses_by_hand():
    real, drawn = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    # relu(1 - real) = 0, 0.5, 2; relu(1 + drawn) = 0, 1, 2
    assert float(hinge_real_or_drawn(real, drawn)) == pytest.approx((2.5 / 3 + 1) / 2)
    assert float(hinge_real_or_drawn(torch.zeros(4), torch.zeros(4))) == 1
    assert float(hinge_real_or_drawn(torch.full((4,), 1.5), torch.full((4,), -1.5))) == 0
    assert float(hinge_fool(drawn)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"video": -0.1}, r"video = -0.1: a weight must not be negative"),
        ({"from_step": -1}, r"from_step = -1"),
        ({"channels": 12}, r"channels = 12: must be a multiple of 8; 8 would fit"),
        ({"layers": 0}, r"layers = 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        AdversarialConfig(**settings)
