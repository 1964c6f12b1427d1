"""The structures of the ablations (Tables 6, 7, 9 and 11; Sec. C.2): what each is made of, and that each trains."""

import dataclasses

import pytest
import torch

from components.train_vqvae.step import Config as TrainConfig
from moso.config import resolve_section
from moso.errors import ConfigError
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, windows
from moso.parameters import count_parameters
from moso.step import Context
from moso.training.config import OptimizerConfig, TrainingConfig
from moso.training.loop import train
from moso.training.sampler import samples
from moso.training.work import WorkFolder
from moso.training.world import Solo
from moso.vqvae.config import given_motion_frames
from moso.vqvae.losses import LossConfig
from moso.vqvae.model import VQVAE, Features, load_vqvae, save_vqvae
from moso.vqvae.objective import ObjectiveConfig, PreprocessingConfig, SoftStartConfig, VQVAEObjective
from moso.vqvae.quantizer import CodebookConfig

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
    """The model of the preset kth_64 with `changes`, as params.yaml would make them."""
    params = {"preset": "kth_64", "seed": 0, "train_vqvae": {"model": changes}}
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


# training


def _objective(model, folder, steps=60, batch=2, loss=None, **settings):
    cache = FrameCache.open(folder)
    settings.setdefault("preprocessing", PreprocessingConfig(until_step=0))
    return VQVAEObjective(
        model.train(),
        ObjectiveConfig(**settings),
        loss or LossConfig("l1"),
        TrainingConfig(
            steps=steps, batch=batch, log_every=5, checkpoint_every=steps, validate_every=steps,
            optimizer=OptimizerConfig("adamw", 3e-3),
        ),
        training_clips=Clips(cache, windows(cache, "train", 6), 6),
        validation_clips=Clips(cache, windows(cache, "validation", 6, 6), 6),
        seed=0,
    )  # fmt: skip


def test_gradients_reach_every_parameter(build, frames_folder, variant):
    objective = _objective(build(**variant), frames_folder, decode_pools=2)
    dealt = samples(0, objective.size, 0, 2, Solo())
    loss, _ = objective.loss(objective.prepare(dealt), dealt, 0)
    loss.backward()
    without = [n for n, p in objective.model.named_parameters() if p.grad is None or not bool(p.grad.abs().max() > 0)]
    assert without == []


def test_each_variant_trains(build, frames_folder, variant, tmp_path):
    """Sixty real steps of the loop on clips of a moving square, from raw frames to an EMA codebook."""
    objective = _objective(
        build(**variant), frames_folder, decode_pools=2, soft_start=SoftStartConfig(most=0.2, vectors_per_code=4)
    )
    history = train(
        objective,
        objective.training,
        seed=0,
        work=WorkFolder(tmp_path, "test"),
        context=Context(tmp_path, device="cpu"),
        title="test",
        identity={},
    )
    terms = [row["l1"] for row in history if "l1" in row]
    assert terms[-1] < 0.6 * terms[0]
    assert history[-1]["validation_psnr"] > 14


def test_the_preprocessing_belongs_to_the_full_decomposition(build, frames_folder):
    """Sec. C.2: the content encoder is fed with raw frames, whatever the step."""
    for decomposition in ("motion_content", "none"):
        losses = []
        for until in (0, 1):
            objective = _objective(
                build(decomposition=decomposition), frames_folder, preprocessing=PreprocessingConfig(until_step=until)
            )
            dealt = samples(0, objective.size, 0, 2, Solo())
            losses.append(float(objective.loss(objective.prepare(dealt), dealt, 0)[0].detach()))
        assert losses[0] == losses[1]


def test_k_means_begins_each_part_with_vectors_of_its_own_component(build, frames_folder):
    model = build(codebooks="separate")
    # features far apart, so that a centre tells whose it is
    for name, offset in (("scene", 0.0), ("object", 50.0), ("motion", -50.0)):
        getattr(model, f"{name}_encoder").to_code.bias.data += offset
    objective = _objective(model, frames_folder, soft_start=SoftStartConfig(most=0.5, motion_gain=-99.0))
    objective.before_step(0, Solo())
    means = [float(model.codebook[8 * part : 8 * part + 8].mean()) for part in range(3)]
    assert means == pytest.approx([0, 50, -50], abs=5)
    assert float(model.codebook.view(3, 8, 4).std(dim=1).max()) < 5


def test_a_dead_entry_is_revived_by_its_own_components_features(build, frames_folder):
    model = build(codebooks="separate")
    quantizer = model.quantizer
    objective = _objective(model, frames_folder, codebook=CodebookConfig(restart_every=1, restart_below=0.02))
    dead = {"scene": [2, 3], "object": [8], "motion": [23]}
    for entries in dead.values():
        quantizer.codebook[entries] = 1e3
    dealt = samples(0, objective.size, 0, 2, Solo())
    frames = objective.prepare(dealt).movedim(-1, 2) / 255
    objective.loss(objective.prepare(dealt), dealt, 0)
    objective.after_step(0, Solo())
    videos = model.videos(frames)
    with torch.no_grad():
        features = model.features(videos.scene, videos.object, videos.motion)
    outputs = {name: getattr(features, name).movedim(-3, -1).reshape(-1, 4) for name in dead}
    for name, entries in dead.items():
        for other, vectors in outputs.items():
            distances = torch.cdist(quantizer.codebook[entries], vectors).min(1).values
            assert (distances < 1e-3).tolist() == [other == name] * len(entries)


@pytest.mark.parametrize("pools", [1, 3])
def test_statistics_count_every_position_of_the_components_there_are(build, frames_folder, variant, pools):
    """Pools that are left out are made up for, absent components count nothing."""
    objective = _objective(build(**variant), frames_folder, decode_pools=pools)
    dealt = samples(0, objective.size, 0, 2, Solo())
    objective.loss(objective.prepare(dealt), dealt, 0)
    counts, parts = objective.model.quantizer.counts, objective.model.quantizer.parts
    grids = objective.model.grids
    sizes = {"scene": 128, "object": 128, "motion": 6 * 32}
    expected = [2 * sizes[name] for name in grids.components]
    if variant.get("codebooks") == "separate":
        assert [float(counts[part].sum()) for part in parts] == pytest.approx(expected)
    assert float(counts.sum()) == pytest.approx(sum(expected)) == 2 * grids.tokens


def test_two_workers_follow_one_with_separate_codebooks(build, frames_folder, workers):
    """k-means, update and restart of each part, of a batch dealt to two workers, are those of one."""

    def objective():
        return _objective(
            build(codebooks="separate"),
            frames_folder,
            batch=4,
            decode_pools=2,
            soft_start=SoftStartConfig(most=0.5, motion_gain=-99.0, vectors_per_code=20),
            codebook=CodebookConfig(restart_every=2, restart_below=0.5),
        )

    def run(objective, world):
        for step in range(4):
            objective.before_step(step, world)
            dealt = samples(0, objective.size, 4 * step, 4, world)
            objective.loss(objective.prepare(dealt), dealt, step)
            objective.after_step(step, world)
        return objective.model.codebook.clone()

    alone = run(objective(), Solo())
    pair = [objective() for _ in range(2)]
    for codebook in workers(2).run(lambda world: run(pair[world.rank], world)):
        assert torch.allclose(codebook, alone, atol=1e-4)
