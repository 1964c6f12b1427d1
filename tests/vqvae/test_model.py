"""The model as a whole: quantisation inside it, and its folder on disk."""

import pytest
import torch

from moso.errors import ConfigError, FormatError
from moso.vqvae.decompose import difference
from moso.vqvae.model import WEIGHTS, Features, load_vqvae, save_vqvae


def _features(model, frames):
    return model.features(frames, frames, difference(frames))


def test_quantised_vectors_equal_the_codebooks_rows_exactly(build, video):
    model = build()
    quantised = model.quantize(_features(model, video(0)))
    for name in ("scene", "object", "motion"):
        tokens, codes = getattr(quantised.tokens, name), getattr(quantised.codes, name)
        assert torch.equal(codes.movedim(-3, -1), model.codebook[tokens])
        assert torch.equal(model.codes(tokens), model.codebook[tokens])


def test_training_and_encoding_find_the_same_tokens(build, video):
    model, frames = build(), video(0)
    quantised = model.quantize(_features(model, frames)).tokens
    encoded = model.encode(frames)
    for name in ("scene", "object", "motion"):
        assert torch.equal(getattr(quantised, name), getattr(encoded, name))
    assert encoded.grids == model.grids


def test_gradients_pass_straight_through_to_the_features(build, video):
    model = build()
    features = Features(*(value.detach().requires_grad_() for value in _features(model, video(0))))
    codes = model.quantize(features).codes
    weights = [torch.randn(c.shape, generator=torch.Generator().manual_seed(i)) for i, c in enumerate(codes)]
    sum((w * c).sum() for w, c in zip(weights, codes, strict=True)).backward()
    for feature, weight in zip(features, weights, strict=True):
        assert torch.equal(feature.grad, weight)
    assert not model.codebook.requires_grad


def test_commitment_is_the_mean_squared_distance_summed_over_components(build, video):
    model = build()
    features = Features(*(value.detach() for value in _features(model, video(0))))
    quantised = model.quantize(features)
    by_hand = sum(
        float((z - model.codebook[t].movedim(-1, -3)).square().mean())
        for z, t in zip(
            features, (quantised.tokens.scene, quantised.tokens.object, quantised.tokens.motion), strict=True
        )
    )
    assert float(quantised.commitment) == pytest.approx(by_hand, rel=1e-5)


def test_quantising_alone_updates_nothing(build, video):
    model = build().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model.quantize(_features(model, video(0)))
    model.encode(video(1))
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name])


def test_encoding_is_the_same_in_training_and_evaluation_mode(build, video):
    """No statistics of a batch anywhere."""
    model, frames = build(), video(0)
    tokens = model.encode(frames)
    again = model.train().encode(frames)
    alone = model.encode(frames[1:])
    assert torch.equal(tokens.motion, again.motion)
    assert torch.equal(tokens.scene[1:], alone.scene)


@pytest.mark.parametrize("shape", [(1, 5, 3, 16, 32), (1, 6, 3, 32, 16), (1, 6, 1, 16, 32)])
def test_frames_of_another_shape_are_refused(build, shape):
    with pytest.raises(ConfigError, match=r"frames = .*\(T, C, H, W\) = \(6, 3, 16, 32\)"):
        build().encode(torch.zeros(shape))


def test_a_saved_model_loads_to_the_same_tokens_and_frames(build, video, tmp_path):
    model, frames = build(), video(0)
    model.quantizer.use.copy_(torch.arange(24.0))
    save_vqvae(model, tmp_path)
    loaded = load_vqvae(tmp_path)
    assert loaded.config == model.config
    assert not loaded.training
    tokens = model.encode(frames)
    assert torch.equal(loaded.encode(frames).motion, tokens.motion)
    assert torch.allclose(loaded.decode(tokens), model.decode(tokens), atol=1e-6)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert float(loaded.quantizer.sums.abs().sum() + loaded.quantizer.counts.sum()) == 0


def test_a_folder_that_is_not_whole_is_refused(build, tmp_path):
    with pytest.raises(FormatError, match=r"no model\.safetensors"):
        load_vqvae(tmp_path)
    save_vqvae(build(), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    save_vqvae(build(codebook_size=25), other)
    (other / WEIGHTS).rename(tmp_path / WEIGHTS)
    with pytest.raises(FormatError, match="does not fit config"):
        load_vqvae(tmp_path)
