"""Stage I's training: unbiased subsets, one codebook update a step, the soft start, and the same result every time."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from moso.errors import ConfigError
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, to_float, windows
from moso.training.config import TrainingConfig
from moso.training.sampler import samples
from moso.training.world import Solo
from moso.vqvae.decompose import difference
from moso.vqvae.losses import LossConfig
from moso.vqvae.objective import VQVAEObjective, evenly
from moso.vqvae.objective_config import ObjectiveConfig, PreprocessingConfig, SoftStartConfig
from moso.vqvae.quantizer import CodebookConfig

SOLO = Solo()
GOLDEN = Path(__file__).parent / "golden.json"
RAW = PreprocessingConfig(until_step=0)


@pytest.fixture
def make(build, frames_folder):
    """An objective on the small model and the drawn episodes (12 training clips, 2 validation clips)."""

    def make(seed=0, steps=20, batch=2, loss=None, model=None, **settings):
        cache = FrameCache.open(frames_folder)
        settings.setdefault("preprocessing", RAW)
        return VQVAEObjective(
            (model or build(seed)).train(),
            ObjectiveConfig(**settings),
            loss or LossConfig("l1", ssim=0.3),
            TrainingConfig(steps=steps, batch=batch),
            training_clips=Clips(cache, windows(cache, "train", 6), 6),
            validation_clips=Clips(cache, windows(cache, "validation", 6, 6), 6),
            seed=seed,
        )

    return make


def _loss(objective, step=0, positions=None, world=SOLO):
    dealt = positions or samples(0, objective.size, step * objective.training.batch, objective.training.batch, world)
    return objective.loss(objective.prepare(dealt), dealt, step)


def _step(objective, step, optimizer=None, world=SOLO, gradients=None):
    """One step; `gradients` gets mean and deviation of every parameter's gradient at step 0."""
    objective.before_step(step, world)
    loss, figures = _loss(objective, step, world=world)
    loss.backward()
    if gradients is not None and step == 0:
        found = _gradients(objective)
        gradients |= {name: [float(g.mean()), float(g.std(correction=0))] for name, g in found.items()}
    if optimizer:
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach()), figures, objective.after_step(step, world)


def _gradients(objective):
    return {name: p.grad.clone() for name, p in objective.model.named_parameters() if p.grad is not None}


def test_a_random_subset_of_pools_has_the_gradient_of_the_whole_clip_on_average(make):
    """Over the three choices of one pool the mean loss and gradient are those of all pools."""
    whole = make(batch=1)
    sample = samples(0, whole.size, 0, 1, SOLO)[0]
    loss, _ = _loss(whole, positions=[sample])
    loss.backward()
    expected = _gradients(whole)

    part = make(batch=1, decode_pools=1)
    by_pool = {}
    for position in range(40):
        chosen = part._chosen_frames([position])[0].tolist()
        by_pool.setdefault(chosen[0] // 2, position)
    assert set(by_pool) == {0, 1, 2}
    losses = []
    for position in by_pool.values():
        share, _ = _loss(part, positions=[dataclasses.replace(sample, position=position)])
        (share / 3).backward()
        losses.append(float(share.detach()))
    assert sum(losses) / 3 == pytest.approx(float(loss.detach()), rel=1e-5)
    found = _gradients(part)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-5), name


def test_a_random_frame_of_each_pool_has_the_gradient_of_the_whole_clip_on_average(make):
    """Over the eight ways to draw one frame of two from each of three pools: reconstruction's mean gradient is that of
    all frames, and every pool's motion is quantised at each."""
    whole = make(batch=1)
    sample = samples(0, whole.size, 0, 1, SOLO)[0]
    loss, _ = _loss(whole, positions=[sample])
    loss.backward()
    expected = _gradients(whole)
    codes = float(whole.model.quantizer.counts.sum())

    part = make(batch=1, decode_frames=1)
    by_frames = {}
    for position in range(80):
        by_frames.setdefault(tuple(part._drawn_frames([position])[0].tolist()), position)
    assert set(by_frames) == {(a, b, c) for a in (0, 1) for b in (2, 3) for c in (4, 5)}
    losses = []
    for position in by_frames.values():
        share, _ = _loss(part, positions=[dataclasses.replace(sample, position=position)])
        (share / 8).backward()
        losses.append(float(share.detach()))
    assert float(part.model.quantizer.counts.sum()) == pytest.approx(8 * codes)
    assert sum(losses) / 8 == pytest.approx(float(loss.detach()), rel=1e-5)
    found = _gradients(part)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-5), name


def test_frames_are_drawn_from_the_pools_that_are_encoded(make):
    """One frame of each of two of three pools: the frame compared is the frame whose motion was encoded."""
    objective = make(decode_pools=2, decode_frames=1)
    chosen, kept = objective._chosen_frames([0, 1, 2]), objective._drawn_frames([0, 1, 2])
    assert kept.shape == (3, 2)
    assert ((kept >= torch.tensor([0, 2])) & (kept < torch.tensor([2, 4]))).all()
    frames = chosen.gather(1, kept)
    assert torch.equal(frames // 2, chosen[:, ::2] // 2)


def test_chosen_frames_are_whole_pools_keyed_by_the_samples_position(make):
    objective = make(decode_pools=2)
    first = objective._chosen_frames([0, 1, 2, 3, 4, 5, 6, 7])
    for row in first:
        assert row.tolist() in ([0, 1, 2, 3], [0, 1, 4, 5], [2, 3, 4, 5])
    assert len({tuple(row.tolist()) for row in first}) == 3
    assert torch.equal(objective._chosen_frames([5, 2]), first[[5, 2]])


def test_one_codebook_update_a_step_from_all_three_components_together(make):
    """Against an update worked out from the tokens of the whole batch; the codebook does not move before after_step."""
    objective = make()
    quantizer = objective.model.quantizer
    start = quantizer.codebook.clone()
    dealt = samples(0, objective.size, 0, 2, SOLO)
    frames = to_float(objective.prepare(dealt))
    with torch.no_grad():
        quantised = objective.model.quantize(objective.model.features(frames, frames, difference(frames)))
    _loss(objective)
    assert torch.equal(quantizer.codebook, start)
    figures = objective.after_step(0, SOLO)
    vectors, tokens = quantised.vectors.flatten(0, 1), quantised.found.flatten()
    assert len(tokens) == 2 * (8 * 16 + 8 * 16 + 6 * 4 * 8)
    for code in range(len(start)):
        mine = vectors[tokens == code]
        # the first update is debiased: used entries go to their mean (smoothing shifts them by a hair)
        expected = mine.mean(0) if len(mine) else start[code]
        assert torch.allclose(quantizer.codebook[code], expected, atol=1e-4)
    assert figures["codes_used"] == len(tokens.unique())


def test_pools_left_out_are_made_up_for_in_the_codebooks_statistics(make):
    counts = {}
    for pools in (1, 3):
        objective = make(decode_pools=pools)
        _loss(objective)
        counts[pools] = float(objective.model.quantizer.counts.sum())
    assert counts[1] == pytest.approx(counts[3])


def test_evaluation_mode_leaves_the_codebook_alone(make):
    objective = make()
    objective.model.eval()
    before = {name: value.clone() for name, value in objective.model.named_buffers()}
    _loss(objective)
    assert objective.after_step(0, SOLO) == {}
    objective.validate(1)
    for name, value in objective.model.named_buffers():
        assert torch.equal(value, before[name])


def test_dead_entries_are_restarted_from_this_steps_encoder_outputs(make):
    objective = make(codebook=CodebookConfig(restart_every=2, restart_below=0.02))
    quantizer = objective.model.quantizer
    quantizer.codebook[:12] = 1e3 + torch.arange(12.0)[:, None]  # too far away ever to be used
    _step(objective, 0)
    assert (quantizer.codebook[:12] >= 1e3).all()
    _, _, figures = _step(objective, 1)
    assert figures["codes_dead"] >= 12
    dealt = samples(0, objective.size, 2, 2, SOLO)
    frames = to_float(objective.prepare(dealt))
    with torch.no_grad():
        outputs = objective.model.features(frames, frames, difference(frames)).rows().flatten(0, 1)
    distances = torch.cdist(quantizer.codebook[:12], outputs)
    assert distances.min(1).values.max() < 1e-3
    assert _step(objective, 2)[2]["codes_used"] > 12


def _collapse(quantizer, how):
    """All entries one, or all but one too far away ever to be used."""
    if how == "equal":
        quantizer.codebook[:] = 0.1
    else:
        quantizer.codebook[1:] = 50.0


@pytest.mark.parametrize("how", ["equal", "far"])
@pytest.mark.parametrize(("restart_every", "revived"), [(2, True), (0, False)])
def test_restarts_revive_a_collapsed_codebook(make, how, restart_every, revived):
    """Of 24 entries one is in use. With restarts all are within 4 steps of a real training, and stay; without, equal
    entries come loose one a step at most, and far ones never. They are reported dead either way."""
    codebook = CodebookConfig(decay=0.9, restart_every=restart_every, restart_below=0.1)
    objective = make(steps=40, codebook=codebook)
    optimizer = torch.optim.AdamW(objective.model.parameters(), lr=1e-3)
    _collapse(objective.model.quantizer, how)
    health = [_step(objective, step, optimizer)[2] for step in range(20)]
    used = [h["codes_used"] for h in health]
    assert used[0] == 1
    assert health[0]["perplexity"] == pytest.approx(1)
    assert health[0]["codes_dead"] == 23
    if revived:
        assert used[3] >= 22
        assert sum(used[-8:]) / 8 >= 22
        assert health[-1]["perplexity"] > 10
    elif how == "equal":
        assert all(now <= step + 1 for step, now in enumerate(used))
    else:
        assert used == [1] * 20
        assert health[-1]["codes_dead"] == 23


def test_nothing_is_restarted_near_the_end(make):
    objective = make(steps=4, codebook=CodebookConfig(restart_every=1, restart_until=0.5))
    quantizer = objective.model.quantizer
    for step in range(4):
        quantizer.codebook[0] = 1e3
        quantizer.use[0] = 0
        _step(objective, step)
        assert bool((quantizer.codebook[0] == 1e3).all()) == (step >= 2)


def test_the_preprocessing_ends_at_its_step(make):
    objective = make(preprocessing=PreprocessingConfig(until_step=1))
    seen = []
    objective.model.scene_encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    objective.model.object_encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    dealt = samples(0, objective.size, 0, 2, SOLO)
    frames = to_float(objective.prepare(dealt))
    for step in (0, 1):
        objective.loss(objective.prepare(dealt), dealt, step)
    scene, object, raw_scene, raw_object = seen
    assert torch.equal(scene + object, frames)
    assert float((object != 0).float().mean()) > 0
    assert torch.equal(raw_scene, frames)
    assert torch.equal(raw_object, frames)


def _soft(**settings):
    return SoftStartConfig(**{"most": 0.5, "check_every": 1, "check_clips": 4, "vectors_per_code": 40, **settings})


def test_the_soft_start_neither_quantises_nor_counts(make):
    objective = make(soft_start=_soft(motion_gain=99.0))
    _, figures, after = _step(objective, 0)
    assert "commitment" not in figures
    assert after == {}
    assert objective.state() == {"quantised_from": None}
    assert float(objective.model.quantizer.counts.sum()) == 0


@pytest.mark.parametrize(("gain", "least", "begins"), [(99.0, 0.0, 10), (-99.0, 0.0, 0), (-99.0, 0.15, 3)])
def test_the_soft_start_ends_when_motion_is_in_use_within_its_bounds(make, gain, least, begins):
    """Of 20 steps, at most half: at step 10 where the criterion is never met, at the first allowed one where it
    always is."""
    objective = make(soft_start=_soft(motion_gain=gain, least=least))
    while objective.state()["quantised_from"] is None:
        step = getattr(objective, "tried", 0)
        objective.before_step(step, SOLO)
        objective.tried = step + 1
    assert objective.state() == {"quantised_from": begins}


def test_quantisation_begins_with_a_codebook_of_the_encoders_outputs(make):
    objective = make(soft_start=_soft(motion_gain=-99.0))
    start = objective.model.codebook.clone()
    objective.before_step(0, SOLO)
    assert not torch.equal(objective.model.codebook, start)
    _, figures = _loss(objective)
    k_means = float(figures["commitment"])
    objective.model.quantizer.codebook.copy_(start)
    _, figures = _loss(objective)
    assert k_means < 0.5 * float(figures["commitment"])
    assert float(objective.model.quantizer.weight) == 1


def test_validation_shows_whether_motion_is_used(make):
    objective = make()
    figures = objective.validate(0)
    assert set(figures) == {"psnr", "psnr_frozen", "codes_used"}  # of each part only where there are several
    assert figures["psnr"] != figures["psnr_frozen"]
    # with a decoder that does not look at motion, freezing it costs nothing
    objective.model.decoder.from_motion.weight.data.zero_()
    blind = objective.validate(0)
    assert blind["psnr"] == pytest.approx(blind["psnr_frozen"], abs=1e-4)


def test_two_workers_follow_one(make, workers):
    """Losses, codebook, k-means, restart and criterion of a batch dealt to two workers are those of one."""
    settings = {
        "batch": 4,
        "decode_pools": 2,
        "soft_start": _soft(motion_gain=-99.0, least=0.05),
        "codebook": CodebookConfig(restart_every=2, restart_below=0.5),
    }

    def train(objective, world):
        steps = [_step(objective, step, world=world) for step in range(4)]
        return torch.tensor([s[0] for s in steps]), objective.model.codebook.clone(), objective.state(), steps[-1][2]

    alone = train(make(**settings), SOLO)
    objectives = [make(**settings) for _ in range(2)]
    results = workers(2).run(lambda world: train(objectives[world.rank], world))
    assert torch.allclose((results[0][0] + results[1][0]) / 2, alone[0], atol=1e-5)
    for _, codebook, state, health in results:
        assert torch.allclose(codebook, alone[1], atol=1e-4)
        assert state == alone[2] == {"quantised_from": 1}
        # usage, perplexity and dead entries are of the batches of both, on either
        assert set(health) == {"codes_used", "perplexity", "codes_dead"}
        assert health == pytest.approx(alone[3], rel=1e-3)


def test_more_pools_than_a_clip_has_are_refused(make):
    with pytest.raises(ConfigError, match=r"decode_pools = 4: a clip has 3 pools; 1 to 3 would fit"):
        make(decode_pools=4)
    with pytest.raises(ConfigError, match=r"decode_frames = 3: a pool has 2 frames; 1 to 2 would fit"):
        make(decode_frames=3)


def test_indices_are_spread_evenly():
    assert evenly(10, 2).tolist() == [2, 7]
    assert evenly(3, 8).tolist() == [0, 1, 2]


def _tiny_run(make):
    objective = make(decode_pools=2, preprocessing=PreprocessingConfig(until_step=2))
    optimizer = torch.optim.AdamW(objective.model.parameters(), lr=1e-3)
    gradients: dict[str, list[float]] = {}
    losses = [_step(objective, step, optimizer, gradients=gradients)[0] for step in range(4)]
    state = {name: value for name, value in objective.model.state_dict().items() if value.ndim and value.numel() > 1}
    return losses, {name: [float(value.mean()), float(value.std())] for name, value in state.items()}, gradients


def test_a_tiny_seeded_run_gives_the_golden_numbers(make):
    """Loss of four steps, mean and deviation of every parameter's gradient in the first of them and of every weight
    after the last.

    To write them anew, with the reason in the commit: python -m pytest tests/vqvae -k golden, with GOLDEN deleted.
    """
    losses, figures, gradients = _tiny_run(make)
    if not GOLDEN.exists():
        golden = {"losses": losses, "weights": figures, "gradients": gradients}
        GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
        pytest.fail(f"wrote {GOLDEN}; look at it and run again")
    golden = json.loads(GOLDEN.read_text())
    assert losses == pytest.approx(golden["losses"], rel=1e-3)
    assert figures.keys() == golden["weights"].keys()
    for name, values in figures.items():
        assert values == pytest.approx(golden["weights"][name], rel=5e-3, abs=5e-4), name
    assert gradients.keys() == golden["gradients"].keys()
    for name, (mean, deviation) in gradients.items():
        expected = golden["gradients"][name]
        # A mean may cancel to nearly nothing: it is held to a share of the deviation.
        assert mean == pytest.approx(expected[0], rel=1e-3, abs=1e-3 * expected[1] + 1e-7), name
        assert deviation == pytest.approx(expected[1], rel=1e-3, abs=1e-7), name


def test_one_seed_gives_one_result_bit_for_bit(make):
    assert _tiny_run(make) == _tiny_run(make)
    assert _tiny_run(lambda **settings: make(seed=1, **settings))[0] != _tiny_run(make)[0]


def test_the_config_reaches_every_part(make):
    """A weight of zero takes its term out of the loss."""
    objective = make(loss=LossConfig("l2", commitment=0.0))
    loss, figures = _loss(objective)
    assert set(figures) == {"l2", "commitment", "psnr"}
    assert float(loss.detach()) == pytest.approx(float(figures["l2"]))
    assert dataclasses.asdict(objective.loss_config)["commitment"] == 0
