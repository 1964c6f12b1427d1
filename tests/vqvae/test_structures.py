"""The structures of the ablations (Tables 6, 7, 9 and 11; Sec. C.2): what each is made of."""

import dataclasses

import pytest
import torch

from components.train_vqvae.step import Config as TrainConfig
from moso.config import resolve_section
from moso.errors import ConfigError
from moso.parameters import count_parameters
from moso.vqvae.config import given_motion_frames
from moso.vqvae.model import VQVAE, Features, load_vqvae, save_vqvae

TABLE_7 = {
    "none, 8": ({"decomposition": "none"}, 1280),
    "none, 4": ({"decomposition": "none", "motion_factor": 4}, 5120),
    "motion and content, (8, 4)": ({"decomposition": "motion_content"}, 1536),
    "motion and content, (8, 2)": ({"decomposition": "motion_content", "scene_factor": 2}, 2304),
    "MOSO, (8, 4, 4)": ({}, 1792),
}
COMPONENTS = {
    "motion_scene_object": {"scene", "object", "motion"},
    "motion_content": {"scene", "motion"},
    "none": {"motion"},
}


def _kth_64(**changes):
    """The model of the preset kth/default with `changes`, as params.yaml would make them."""
    params = {"dataset": "kth", "preset": "default", "seed": 0, "train_vqvae": {"model": changes}}
    return resolve_section(TrainConfig, "train_vqvae", params).model


@pytest.mark.parametrize(("changes", "tokens"), TABLE_7.values(), ids=TABLE_7)
def test_a_clip_of_kth_64_has_the_tokens_of_table_7(changes, tokens):
    """Counted from the config, and on a clip that a model of the same factors, made narrow, really encodes."""
    config = _kth_64(**changes)
    assert config.grids.tokens == tokens
    narrow = dataclasses.replace(
        config, channels=8, residual_channels=8, code_dimension=4, codebook_size=48, encoder_blocks=0, decoder_blocks=0
    )
    clip = torch.rand(1, 20, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    encoded = VQVAE(narrow).eval().encode(clip)
    assert sum(part.numel() for part in (encoded.scene, encoded.object, encoded.motion)) == tokens
    assert encoded.grids == config.grids


def test_a_decomposition_is_one_setting(decomposition):
    """Of the paper's preset and of every other field's default nothing needs to be changed with it."""
    config = _kth_64(decomposition=decomposition)
    assert set(config.components) == set(config.grids.components) == COMPONENTS[decomposition]
    # the released values of what an absent component would need may be anything
    odd = {f"{name}_factor": 3 for name in {"scene", "object"} - COMPONENTS[decomposition]}
    assert _kth_64(decomposition=decomposition, **odd).grids == config.grids


def test_parameters_of_the_variants_of_kth_64():
    """Encoders of scene, object and motion, the merge module and the rest of the decoder, each as counted apart.

    An encoder of a still component at factor 4: two downsample layers, 20 x 256 -> 256 by 3x3, four residual layers.
    """
    down = (256 * 256 * 25 + 256) + (256 * 256 * 9 + 256) + 2 * 512
    first = (3 * 256 * 25 + 256) + (256 * 256 * 9 + 256) + 2 * 512
    residual = 4 * (256 * 128 * 9 + 128 * 256 + 2 * 128 + 2 * 256)
    point = 256 * 256 + 256
    still = first + down + (20 * 256 * 256 * 9 + 256) + 512 + residual + point
    motion = first + 2 * down + 4 * 256 * 256 + 512 + residual + point
    mix = 3 * 256 * 256 + 256 + point
    # down to half and a quarter of the scene grid: scene 1 + 2, object 1 + 2, motion 0 + 1 layers
    module = 7 * down + 3 * mix + point
    up, rgb = 256 * 256 * 16 + 256 + 512, 256 * 3 * 16 + 3
    sizes = {
        "MOSO": ({}, 2 * still + motion + module + 3 * point + residual + up + rgb),
        "without merge": ({"merge": "sum"}, 2 * still + motion + 3 * point + residual + up + rgb),
        "mo.co. (8, 4)": (
            {"decomposition": "motion_content"},
            still + motion + 4 * down + 2 * point + residual + up + rgb,
        ),
        "mo.co. (8, 2)": (
            {"decomposition": "motion_content", "scene_factor": 2},
            still - down + motion + 3 * down + 2 * point + residual + rgb,
        ),
        "none, 8": ({"decomposition": "none"}, motion + point + residual + 2 * up + rgb),
        "none, 4": ({"decomposition": "none", "motion_factor": 4}, motion - down + point + residual + up + rgb),
        "separate": ({"codebooks": "separate", "codebook_size": 3 * 8192}, 57_781_507),
    }
    for name, (changes, expected) in sizes.items():
        with torch.device("meta"):
            model = VQVAE(_kth_64(**changes))
        assert count_parameters(model) == expected, name
    assert sizes["MOSO"][1] == 57_781_507


def test_absent_components_have_no_networks_and_empty_tokens(build, video, decomposition):
    model, frames = build(decomposition=decomposition), video(0)
    parts = {name.split(".")[0] for name, _ in model.named_parameters()}
    lifts = {name.split(".")[1] for name, _ in model.decoder.named_parameters(prefix="decoder")}
    assert parts == {f"{name}_encoder" for name in model.grids.components} | {"decoder"}
    assert {name for name in lifts if name.startswith("from_")} == {f"from_{name}" for name in model.grids.components}
    tokens = model.encode(frames)
    for name in ("scene", "object"):
        if name not in model.grids.components:
            assert getattr(tokens, name).shape == (2, 0, 0)
            assert getattr(tokens, name).dtype == torch.int64
    assert model.decode(tokens).shape == frames.shape


def test_what_each_encoder_is_given(build, video):
    """Sec. C.2: content the raw frames, motion their difference; the frame-wise encoder of "none" the raw frames."""
    frames = video(0)
    for decomposition, moving in (("motion_scene_object", False), ("motion_content", False), ("none", True)):
        model, seen = build(decomposition=decomposition), {}
        for name in model.grids.components:
            encoder = getattr(model, f"{name}_encoder")
            watched = encoder.stem[0].reduce
            watched.register_forward_pre_hook(lambda module, args, name=name, seen=seen: seen.update({name: args[0]}))
        model.encode(frames)
        raw = frames.flatten(0, 1)
        assert torch.equal(seen["motion"], raw) == moving
        if not moving:
            assert torch.equal(seen["motion"].unflatten(0, (2, 6))[:, 1:], frames[:, 1:] - frames[:, :-1])
        assert all(torch.equal(value, raw) for name, value in seen.items() if name != "motion")


def test_the_frame_wise_encoder_of_no_decomposition_is_the_motion_encoder(build):
    ours, theirs = build(decomposition="none").motion_encoder, build().motion_encoder
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: p.shape for n, p in theirs.named_parameters()}


def test_rows_are_the_present_components_vectors_in_order(build, video, variant):
    model, frames = build(**variant), video(0)
    videos = model.videos(frames)
    features = model.features(videos.scene, videos.object, videos.motion)
    rows = features.rows()
    assert rows.shape == (2, model.grids.tokens, 4)
    first = getattr(features, model.grids.components[0])
    first = first if first.ndim == 4 else first[:, 0]
    assert torch.equal(rows[:, 0], first[..., 0, 0])
    assert torch.equal(rows[:, -1], features.motion[:, -1, :, -1, -1])


def test_commitment_is_summed_over_the_components_there_are(build, video, variant):
    model, frames = build(**variant), video(0)
    videos = model.videos(frames)
    features = Features(*(z.detach() for z in model.features(videos.scene, videos.object, videos.motion)))
    quantised = model.quantize(features)
    by_hand = [
        float((getattr(features, name) - getattr(quantised.codes, name)).square().mean())
        for name in model.grids.components
    ]
    assert float(quantised.commitment) == pytest.approx(sum(by_hand), rel=1e-5)
    assert all(loss > 0 for loss in by_hand)


def test_training_and_encoding_find_the_same_tokens(build, video, variant):
    model, frames = build(**variant), video(0)
    videos = model.videos(frames)
    quantised = model.quantize(model.features(videos.scene, videos.object, videos.motion))
    encoded = model.encode(frames)
    for name in ("scene", "object", "motion"):
        assert torch.equal(getattr(quantised.tokens, name), getattr(encoded, name))
        assert torch.equal(getattr(quantised.codes, name).movedim(-3, -1), model.codebook[getattr(encoded, name)])


def test_a_saved_variant_loads_to_the_same_tokens_and_frames(build, video, variant, tmp_path):
    model, frames = build(**variant), video(0)
    save_vqvae(model, tmp_path)
    loaded = load_vqvae(tmp_path)
    tokens = model.encode(frames)
    assert loaded.config == model.config
    assert torch.equal(loaded.encode(frames).motion, tokens.motion)
    assert torch.allclose(loaded.decode(tokens), model.decode(tokens), atol=1e-6)


def test_given_motion_frames_do_not_depend_on_the_structure(small, variant):
    config = dataclasses.replace(small, **variant)
    assert [given_motion_frames(config, k) for k in range(6)] == [given_motion_frames(small, k) for k in range(6)]


# separate codebooks (Table 11)


@pytest.mark.parametrize(
    ("decomposition", "parts"),
    [
        ("motion_scene_object", {"scene": (0, 8), "object": (8, 16), "motion": (16, 24)}),
        ("motion_content", {"scene": (0, 12), "motion": (12, 24)}),
        ("none", {"motion": (0, 24)}),
    ],
)
def test_each_component_finds_the_nearest_entry_of_its_own_part(build, video, decomposition, parts):
    model, frames = build(decomposition=decomposition, codebooks="separate"), video(0)
    videos = model.videos(frames)
    features = model.features(videos.scene, videos.object, videos.motion)
    tokens = model.encode(frames)
    for name, (first, end) in parts.items():
        vectors = getattr(features, name).movedim(-3, -1).double()
        distances = (vectors[..., None, :] - model.codebook[first:end].double()).square().sum(-1)
        assert torch.equal(getattr(tokens, name), distances.argmin(-1) + first)


def test_a_codebook_that_cannot_be_parted_is_refused(small):
    with pytest.raises(ConfigError, match=r"codebook_size = 25: must be a multiple of 3: .*; 24 or 27 would fit"):
        dataclasses.replace(small, codebook_size=25, codebooks="separate")
    with pytest.raises(ConfigError, match=r"codebook_size = 25: must be a multiple of 2: .*; 24 or 26 would fit"):
        dataclasses.replace(small, codebook_size=25, codebooks="separate", decomposition="motion_content")
    assert dataclasses.replace(small, codebook_size=25, codebooks="separate", decomposition="none").codebook_parts == 1
