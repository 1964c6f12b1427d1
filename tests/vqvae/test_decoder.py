"""The decoder is blind to time, and the merge module is Eqs. 3 to 8."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from moso.errors import ConfigError
from moso.tokens.clip_tokens import ClipTokens
from moso.vqvae.merge import MergeModule, Sum

FACTORS = {
    "paper, 256 pixels": (2, 4, 8),
    "paper, 64 pixels": (2, 2, 4),
    "all equal": (2, 2, 2),
    "far apart": (2, 4, 16),
    "late motion": (2, 2, 16),
}


def _tokens(model, seed=0, batch=2):
    grids, size = model.grids, len(model.codebook)
    generator = torch.Generator().manual_seed(seed)
    shapes = [grids.shape(name) for name in ("scene", "object", "motion")]
    return ClipTokens(*(torch.randint(size, (batch, *shape), generator=generator) for shape in shapes))


@pytest.mark.parametrize("frame", [0, 3, 5])
def test_motion_tokens_of_a_frame_change_that_frame_only(build, variant, frame):
    model = build(**variant)
    tokens = _tokens(model)
    motion = tokens.motion.clone()
    motion[:, frame] = (motion[:, frame] + 7) % len(model.codebook)
    before, after = model.decode(tokens), model.decode(dataclasses.replace(tokens, motion=motion))
    assert [torch.equal(before[:, t], after[:, t]) for t in range(6)] == [t != frame for t in range(6)]


def test_scene_and_object_tokens_change_every_frame(build, variant):
    model = build(**variant)
    tokens = _tokens(model)
    before = model.decode(tokens)
    for name in set(model.grids.components) - {"motion"}:
        after = model.decode(dataclasses.replace(tokens, **{name: (getattr(tokens, name) + 5) % len(model.codebook)}))
        assert not any(torch.allclose(before[:, t], after[:, t], atol=1e-4) for t in range(6))


def test_any_frames_can_be_drawn_by_themselves(build, variant):
    model = build(**variant)
    tokens = _tokens(model)
    whole = model.decode(tokens)
    for frames in ([4], [5, 0, 2]):
        assert torch.allclose(model.decode(tokens, torch.tensor(frames)), whole[:, frames], atol=1e-6)


def test_frames_with_the_same_motion_tokens_are_the_same_picture(build):
    model = build()
    tokens = _tokens(model)
    motion = tokens.motion.clone()
    motion[:, 4] = motion[:, 1]
    drawn = model.decode(dataclasses.replace(tokens, motion=motion))
    assert torch.allclose(drawn[:, 4], drawn[:, 1], atol=1e-6)


def test_components_that_are_left_out_are_zeros_to_the_decoder(build, variant):
    model = build(**variant)
    tokens, present = _tokens(model), model.grids.components
    codes = {name: model.quantizer.codes(getattr(tokens, name)) for name in ("scene", "object", "motion")}
    zeros = {name: torch.zeros_like(code) for name, code in codes.items()}
    with torch.no_grad():
        for only in ({present[0]}, set(present[1:]), set(present)):
            expected = model.decoder(**{name: codes[name] if name in only else zeros[name] for name in zeros})
            assert torch.equal(model.decode(tokens, only=only), expected)
    other = dataclasses.replace(tokens, scene=(tokens.scene + 1) % len(model.codebook))
    assert torch.equal(model.decode(tokens, only=present[1:]), model.decode(other, only=present[1:]))


def test_an_unknown_component_is_refused(build):
    model = build()
    with pytest.raises(ConfigError, match=r"only = .*backdrop.*known: scene, object, motion"):
        model.decode(_tokens(model), only={"backdrop"})


def test_a_component_that_the_model_does_not_have_cannot_be_drawn(build):
    model = build(decomposition="motion_content")
    with pytest.raises(ConfigError, match=r"only = \['object'\]: is no component of this model; known: scene, motion"):
        model.decode(_tokens(model), only={"object", "scene"})


def _equations(merge, config, scene, object, motion):
    """Eqs. 3 to 8 for one frame as they are printed, on whole concatenations."""
    features = {
        "motion": (motion, config.motion_factor),
        "scene": (scene, config.scene_factor),
        "object": (object, config.object_factor),
    }

    def weight_features(scale):
        factor, parts = config.scene_factor * 2**scale, []
        for name, (x, own) in features.items():
            down = merge.downs[scale][name]
            assert len(down) == max(0, (factor // own).bit_length() - 1)  # stride-2 layers to a coarser grid
            parts.append(down(x) if own < factor else _up(x, own // factor))
        mix = merge.mixes[scale]
        return mix.spread(F.relu(mix.gather(torch.cat(parts, dim=1))))

    w_s, w_o, w_m = (weight_features(scale) for scale in range(3))
    w_o = w_o + _up(w_m, 2)
    w = torch.sigmoid(merge.weigh(w_s + _up(w_o, 2)))
    return w * scene + (1 - w) * _up(object, config.object_factor // config.scene_factor)


@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
def test_the_merge_module_is_equations_3_to_8_at_three_scales(small, factors):
    names = ("scene_factor", "object_factor", "motion_factor")
    config = dataclasses.replace(small, height=32, width=32, **dict(zip(names, factors, strict=True)))
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        merge = MergeModule(config).requires_grad_(False)
    batch, frames = 2, 3
    scene, object, motion = (
        torch.randn(count, 8, *config.grid(factor), generator=generator)
        for count, factor in zip((batch, batch, batch * frames), factors, strict=True)
    )
    merged = merge(scene, object, motion).unflatten(0, (batch, frames))
    for clip in range(batch):
        for frame in range(frames):
            row = clip * frames + frame
            expected = _equations(merge, config, scene[clip, None], object[clip, None], motion[row, None])
            assert torch.allclose(merged[clip, frame], expected[0], atol=1e-5)


def test_equal_factors_have_three_scales_all_the_same(small):
    config = dataclasses.replace(small, scene_factor=2, object_factor=2, motion_factor=2)
    merge = MergeModule(config)
    assert [{name: len(down) for name, down in downs.items()} for downs in merge.downs] == [
        {"motion": 0, "scene": 0, "object": 0},
        {"motion": 1, "scene": 1, "object": 1},
        {"motion": 2, "scene": 2, "object": 2},
    ]


def _up(x, factor):
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False) if factor > 1 else x


def _random(config, clips=2, frames=3):
    generator = torch.Generator().manual_seed(0)
    counts = {"scene": clips, "object": clips, "motion": clips * frames}
    return {
        name: torch.randn(counts[name], 8, *config.grid(config.factor(name)), generator=generator)
        for name in config.components
    }


def test_without_the_merge_module_features_are_added_on_the_scene_grid(small):
    config = dataclasses.replace(small, scene_factor=2, object_factor=4, motion_factor=16, width=16, merge="sum")
    merge = Sum(config)
    assert list(merge.parameters()) == []
    features = _random(config)
    added = merge(**features).unflatten(0, (2, 3))
    up = {name: _up(features[name], factor) for name, factor in (("scene", 1), ("object", 2), ("motion", 8))}
    for clip in range(2):
        for frame in range(3):
            expected = up["scene"][clip] + up["object"][clip] + up["motion"][clip * 3 + frame]
            assert torch.allclose(added[clip, frame], expected, atol=1e-5)


@pytest.mark.parametrize("factors", [(2, 4), (2, 8), (2, 16)], ids=str)
def test_motion_and_content_are_added_at_three_scales(small, factors):
    """Sec. C.2: at the content grid, half and a quarter of it, each scale brought up to the one before."""
    content_factor, motion_factor = factors
    config = dataclasses.replace(
        small, decomposition="motion_content", scene_factor=content_factor, motion_factor=motion_factor, height=32
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        merge = Sum(config).requires_grad_(False)
    features = _random(config)
    added = merge(**features).unflatten(0, (2, 3))

    def at(scale, name, value):
        down, own = merge.downs[scale][name], config.factor(name) // (content_factor * 2**scale)
        assert len(down) == max(0, scale + 1 - (config.factor(name) // content_factor).bit_length())
        return _up(down(value), max(1, own))

    for clip in range(2):
        for frame in range(3):
            scene, motion = features["scene"][clip, None], features["motion"][clip * 3 + frame, None]
            finest, middle, coarsest = (at(s, "scene", scene) + at(s, "motion", motion) for s in range(3))
            expected = finest + _up(middle + _up(coarsest, 2), 2)
            assert torch.allclose(added[clip, frame], expected[0], atol=1e-4)


def test_where_nothing_is_decomposed_nothing_is_merged(small):
    config = dataclasses.replace(small, decomposition="none")
    merge, features = Sum(config), _random(config)
    assert list(merge.parameters()) == []
    assert torch.equal(merge(**features), features["motion"])
