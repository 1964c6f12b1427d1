"""Encoders: pools, and what a frame's features may depend on."""

import pytest
import torch

from moso.vqvae.encoders import TemporalAttention, _attend, _attend_few, stem_channels


def _reference(attention, x):
    """Eq. 1 spelled out in float64 for one pool: heads and places one by one."""
    frames, channels, height, width = x.shape
    weights = attention.queries_keys_values.weight.double()
    size = channels // attention.heads
    out = torch.zeros(frames, channels, height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            features = x[:, :, i, j].double()
            q, k, v = (features @ part.T for part in weights.chunk(3))
            for h in range(attention.heads):
                part = slice(h * size, (h + 1) * size)
                scores = q[:, part] @ k[:, part].T / size**0.5
                out[:, part, i, j] = scores.softmax(-1) @ v[:, part]
            joined = features + out[:, :, i, j] @ attention.join.weight.double().T
            out[:, :, i, j] = torch.nn.functional.layer_norm(joined, (channels,))
    return out


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_temporal_attention_is_equation_1_at_every_place(frames):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = TemporalAttention(8, 2).requires_grad_(False)
        x = torch.randn(1, frames, 8, 2, 3)
    assert torch.allclose(attention(x)[0].double(), _reference(attention, x[0]), atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_both_ways_to_attend_agree(frames):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        q, k, v = torch.randn(3, 2, frames, 3, 5, 2, 4)
    assert torch.allclose(_attend_few(q, k, v), _attend(q, k, v), atol=1e-6)


@pytest.mark.parametrize("pools", [1, 2, 3, 6])
def test_motion_features_depend_on_their_own_pool_alone(build, video, pools):
    model = build(pools=pools)
    length = 6 // pools
    motion = video(0) - 0.5
    changed = motion.clone()
    changed[:, length * (pools - 1)] += 0.3  # the first frame of the last pool
    with torch.no_grad():
        before, after = model.motion_encoder(motion), model.motion_encoder(changed)
    same = [torch.equal(before[:, t], after[:, t]) for t in range(6)]
    assert same == [True] * (length * (pools - 1)) + [False] * length


def test_pools_may_be_encoded_apart(build, video):
    model, motion = build(), video(0) - 0.5
    with torch.no_grad():
        whole = model.motion_encoder(motion)
        parts = torch.cat([model.motion_encoder(motion[:, t : t + 2]) for t in (0, 2, 4)], dim=1)
    assert torch.allclose(whole, parts, atol=1e-6)


def test_all_pools_are_encoded_alike(build, video):
    """A pool's motion tokens do not depend on where in the clip it lies."""
    model, motion = build(), video(0) - 0.5
    swapped = motion[:, [4, 5, 0, 1, 2, 3]]
    with torch.no_grad():
        assert torch.allclose(
            model.motion_encoder(motion)[:, [4, 5, 0, 1, 2, 3]], model.motion_encoder(swapped), atol=1e-6
        )


def test_the_scene_sees_every_frame_and_their_order(build, video):
    model, frames = build(), video(0)
    with torch.no_grad():
        scene = model.scene_encoder(frames)
        for t in range(6):
            changed = frames.clone()
            changed[:, t] = 1 - changed[:, t]
            assert not torch.allclose(model.scene_encoder(changed), scene, atol=1e-4)
        assert not torch.allclose(model.scene_encoder(frames.flip(1)), scene, atol=1e-4)


def test_the_temporal_compression_reads_frames_side_by_side_along_channels(build, video):
    """Channel t x C + c of what the compression reads is channel c of frame t."""
    model, frames = build(), video(0)
    encoder, seen = model.scene_encoder, []
    encoder.compress.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        encoder(frames)
        each = [encoder.stem(frames[:, t]) for t in range(6)]
    assert torch.allclose(seen[0], torch.cat(each, dim=1), atol=1e-6)


def test_clips_of_a_batch_do_not_meet(build, video):
    model, frames = build(), video(0, batch=3)
    model.train()
    other = frames.clone()
    other[1:] = 1 - other[1:]
    with torch.no_grad():
        for encoder in (model.scene_encoder, model.object_encoder, model.motion_encoder):
            assert torch.equal(encoder(frames)[0], encoder(other)[0])


def test_the_first_layers_take_their_own_widths_the_rest_the_common_one(small):
    assert [stem_channels(small, factor) for factor in (2, 4, 16)] == [[4], [4, 8], [4, 8, 8, 8]]
