"""No conditioning token depends on a frame after K, whatever a clip is taken apart into; the same checks catch a
central difference and a norm over time."""

import numpy as np
import pytest
import torch
from torch import nn

import moso.vqvae.model
from components.extract_tokens.step import Config, encode, run
from moso.frames.clips import to_float
from moso.provenance import write_provenance
from moso.step import Context
from moso.tokens.store import TokenStore
from moso.vqvae.config import given_motion_frames
from moso.vqvae.decompose import pseudo_clip
from moso.vqvae.model import FORMAT, VERSION, save_vqvae

GIVEN = 4


def _uint8(video, seed):
    return (video(seed, batch=3) * 255).to(torch.uint8).movedim(2, -1)


def _leaks(model, video):
    """Which conditioning tokens change when the frames after K become noise."""
    frames = _uint8(video, 0)
    noisy = frames.clone()
    noisy[:, GIVEN:] = _uint8(video, 1)[:, GIVEN:]
    (target, pseudo), (other, other_pseudo) = encode(model, frames, GIVEN), encode(model, noisy, GIVEN)
    given = given_motion_frames(model.config, GIVEN)
    assert given == GIVEN
    # the noise is not lost on the tokens that may depend on it
    assert not torch.equal(target.motion[:, given:], other.motion[:, given:])
    for name in set(model.grids.components) - {"motion"}:
        assert not torch.equal(getattr(target, name), getattr(other, name))
    pairs = {
        "scene": (pseudo.scene, other_pseudo.scene),
        "object": (pseudo.object, other_pseudo.object),
        "motion": (target.motion[:, :given], other.motion[:, :given]),
    }
    assert {name for name, (ours, _) in pairs.items() if ours.numel()} == set(model.grids.components)
    return {name for name, (ours, theirs) in pairs.items() if not torch.equal(ours, theirs)}


class NormOverTime(nn.Module):
    """GroupNorm whose statistics span the frames of a clip."""

    def __init__(self, norm, frames):
        super().__init__()
        self.norm, self.frames = norm, frames

    def forward(self, x):
        clips = x.unflatten(0, (-1, self.frames)).transpose(1, 2).contiguous()
        return self.norm(clips.flatten(2, 3)).unflatten(2, (self.frames, -1)).transpose(1, 2).flatten(0, 1)


def _central_difference(frames):
    """The released code's 2 x_t - x_{t-1} - x_{t+1}."""
    ends = torch.cat([frames[:, :1], frames, frames[:, -1:]], dim=1)
    return 2 * frames - ends[:, :-2] - ends[:, 2:]


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_after_the_given_frames_changes_no_conditioning_token(build, video, variant, seed):
    assert _leaks(build(seed, **variant), video) == set()


@pytest.mark.parametrize("decomposition", ["motion_scene_object", "motion_content"])
def test_a_central_difference_would_leak(build, video, monkeypatch, decomposition):
    monkeypatch.setattr(moso.vqvae.model, "difference", _central_difference)
    assert _leaks(build(decomposition=decomposition), video) == {"motion"}


def test_a_norm_over_time_would_leak(build, video, decomposition):
    model = build(decomposition=decomposition)
    for layer in model.motion_encoder.stem:
        layer.norm = NormOverTime(layer.norm, 6)
    assert _leaks(model, video) == {"motion"}


@pytest.mark.parametrize("given", [2, 3, 4, 5])
def test_given_motion_tokens_are_the_same_for_pseudo_and_target_clip(build, video, variant, given):
    """Eq. 12."""
    model, frames = build(**variant), video(2)
    target, pseudo = model.encode(frames), model.encode(pseudo_clip(frames, given))
    known = given_motion_frames(model.config, given)
    assert torch.equal(target.motion[:, :known], pseudo.motion[:, :known])
    assert not torch.equal(target.motion[:, known:], pseudo.motion[:, known:])


def test_tokens_of_both_clips_are_what_encoding_each_by_itself_gives(build, video, variant):
    model, frames = build(**variant), _uint8(video, 3)
    target, pseudo = encode(model, frames, GIVEN)
    whole, whole_pseudo = model.encode(to_float(frames)), model.encode(pseudo_clip(to_float(frames), GIVEN))
    assert target.grids == pseudo.grids == model.grids
    for name in ("scene", "object"):
        assert torch.equal(getattr(target, name), getattr(whole, name))
        assert torch.equal(getattr(pseudo, name), getattr(whole_pseudo, name))
    assert torch.equal(target.motion, whole.motion)


def test_noise_in_the_frame_cache_after_the_given_frames_leaves_the_stored_conditioning_bit_identical(
    build, write_cache, tmp_path, decomposition
):
    """The whole way: cache, step, store. Episodes are one clip long."""
    model = build(decomposition=decomposition)

    def noise(episode, number):
        noisy = episode.copy()
        noisy[GIVEN:] = np.random.default_rng(number).integers(0, 256, noisy[GIVEN:].shape, dtype=np.uint8)
        return noisy

    vqvae = tmp_path / "vqvae"
    vqvae.mkdir()
    save_vqvae(model, vqvae)
    write_provenance(vqvae, format=FORMAT, version=VERSION, step="train_vqvae", config={}, inputs={})
    stores = []
    for name, change in (("clean", lambda episode, number: episode), ("noisy", noise)):
        frames = write_cache(tmp_path / f"{name}_frames", {"train": 3, "test": 2}, 6, change)
        paths = {"frames": frames, "vqvae": vqvae}
        run(Config(GIVEN), paths, {"tokens": tmp_path / name}, Context(tmp_path / "work", device="cpu"))
        store = TokenStore.open(tmp_path / name)
        assert store.grids == model.grids
        stores.append(store.batch(np.arange(5)))
    clean, noisy = stores
    assert torch.equal(clean.pseudo_scene, noisy.pseudo_scene)
    assert torch.equal(clean.pseudo_object, noisy.pseudo_object)
    assert torch.equal(clean.target.motion[:, :GIVEN], noisy.target.motion[:, :GIVEN])
    assert not torch.equal(clean.target.motion[:, GIVEN:], noisy.target.motion[:, GIVEN:])
    for name in set(model.grids.components) - {"motion"}:
        assert not torch.equal(getattr(clean.target, name), getattr(noisy.target, name))
