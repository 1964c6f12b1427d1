"""Each structure of the ablations trains: gradients everywhere, a falling loss, codebooks that keep to themselves."""

import pytest
import torch

from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, windows
from moso.step import Context
from moso.training.config import OptimizerConfig, TrainingConfig
from moso.training.loop import train
from moso.training.sampler import samples
from moso.training.work import WorkFolder
from moso.training.world import Solo
from moso.vqvae.losses import LossConfig
from moso.vqvae.objective import VQVAEObjective
from moso.vqvae.objective_config import ObjectiveConfig, PreprocessingConfig, SoftStartConfig
from moso.vqvae.quantizer import CodebookConfig


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


def test_separate_codebooks_are_watched_one_by_one(build, frames_folder):
    """Against counts of the tokens: scene's codebook has collapsed, which the whole table's figures would hide."""
    model = build(codebooks="separate")
    model.quantizer.codebook[:8] = 1e3
    model.quantizer.codebook[0] = 0.0
    objective = _objective(model, frames_folder, codebook=CodebookConfig(restart_every=0))
    dealt = samples(0, objective.size, 0, 2, Solo())
    with torch.no_grad():
        videos = model.videos(objective.prepare(dealt).movedim(-1, 2) / 255)
        tokens = model.quantize(model.features(videos.scene, videos.object, videos.motion)).found
    # every position counts alike, drawn or not: no pools are left out
    counts = torch.bincount(tokens.flatten(), minlength=24).double().view(3, 8)
    objective.loss(objective.prepare(dealt), dealt, 0)
    figures = objective.after_step(0, Solo())
    for name, part in zip(("scene", "object", "motion"), counts, strict=True):
        share = part[part > 0] / part.sum()
        assert figures[f"codes_used_{name}"] == len(share)
        assert figures[f"perplexity_{name}"] == pytest.approx(float((-(share * share.log()).sum()).exp()), rel=1e-4)
        assert figures[f"codes_dead_{name}"] == 8 - len(share[share * 8 >= 0.02])
    assert figures["codes_used_scene"] == figures["perplexity_scene"] == 1
    assert figures["codes_dead_scene"] == 7
    for name in ("codes_used", "codes_dead"):
        assert figures[name] == sum(figures[f"{name}_{part}"] for part in ("scene", "object", "motion"))
    seen = objective.validate(0)
    assert seen["codes_used_scene"] == 1
    assert seen["codes_used"] == sum(seen[f"codes_used_{part}"] for part in ("scene", "object", "motion"))


@pytest.mark.parametrize("settings", [{}, {"decomposition": "none", "codebooks": "separate"}])
def test_one_codebook_has_one_set_of_figures(build, frames_folder, settings):
    objective = _objective(build(**settings), frames_folder)
    dealt = samples(0, objective.size, 0, 2, Solo())
    objective.loss(objective.prepare(dealt), dealt, 0)
    assert set(objective.after_step(0, Solo())) == {"codes_used", "perplexity", "codes_dead"}
    assert set(objective.validate(0)) == {"psnr", "psnr_frozen", "codes_used"}
