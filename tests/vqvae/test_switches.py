"""Stage I with its switches: the same gradients."""

import pytest
import torch

from moso.training.config import TrainingConfig
from moso.training.segment import Segment
from moso.training.switches import switch_
from moso.vqvae.encoders import TemporalAttention


def _turn(model, video, **switches):
    switch_(model, TrainingConfig(steps=1, batch=1, **switches))
    model.train().zero_grad()
    videos = model.videos(video(3))
    quantised = model.quantize(model.features(*(videos.scene, videos.object, videos.motion)))
    loss = (model.decoder(*quantised.codes) - video(3)).square().mean() + quantised.commitment
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


def test_recomputed_activations_give_the_same_bits(build, video, variant):
    model = build(**variant)
    assert sum(isinstance(part, Segment) for part in model.modules()) > 5
    loss, gradients = _turn(model, video)
    again, theirs = _turn(model, video, recompute=True)
    assert torch.equal(loss, again)
    for name, gradient in gradients.items():
        assert torch.equal(theirs[name], gradient), name


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_plain_attention_is_the_fused_one(frames):
    torch.manual_seed(0)
    layer, x = TemporalAttention(8, 2), torch.randn(3, frames, 8, 2, 2)
    fused = layer(x)
    layer.fused = False
    torch.testing.assert_close(layer(x), fused)
