import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_transformers import (
    DEVIATIONS,
    EQUAL,
    FORMS,
    FRAMES,
    GIVEN,
    MOTION_ALONE,
    NO_OBJECT,
    SINGLE,
    SINGLE_DEVIATIONS,
    UNEQUAL,
    N,
    build,
    write_store,
)

from moso.errors import ConfigError, MismatchError
from moso.training.random import generator
from moso.training.sampler import Sample
from moso.transformer.config import LossConfig
from moso.transformer.masking import clip_mask, training_mask
from moso.transformer.objective import TransformerObjective, weights
from moso.transformer.single import Content

SAMPLES = [Sample(position=p, epoch=0, index=i) for p, i in ((8, 2), (9, 0), (10, 3))]

GOLDEN = Path(__file__).parent / "golden.json"
GOLDEN_FORMS = {
    "paper": ({}, {}),
    "deviations": (
        {"merged_scene_object": True, **DEVIATIONS},
        {"guidance_from": "argmax", "motion_weight": 2.0, "moving_weight": 2.0, "label_smoothing": 0.1},
    ),
    "single": ({"merged_scene_object": True, **SINGLE_DEVIATIONS}, {"moving_weight": 2.0}),
    "unconditional": ({"unconditional": True}, {"unconditional_share": 0.5, "guidance_from": "sampled"}),
}


def _objective(store, model=None, **loss):
    return TransformerObjective(model or build(), store, LossConfig(**loss), seed=7)


def _loss(objective, samples=SAMPLES):
    return objective.loss(objective.prepare(samples), samples, 0)


def _masks():
    return torch.stack([training_mask(5, (2, 2), GIVEN, generator(7, "masking", s.position)) for s in SAMPLES])


def test_motion_loss_on_masked_tokens_equals_that_of_all_logits_with_the_others_left_out(store):
    objective = _objective(store)
    model, batch, mask = objective.model, objective.prepare(SAMPLES), _masks()
    _, figures = _loss(objective)
    guidance = model.guidance(batch.target.scene, batch.target.object)
    everywhere = torch.ones_like(mask)
    logits = model.motion_logits(batch.target.motion.masked_fill(mask, model.mask), guidance, everywhere)
    expected = F.cross_entropy(logits, batch.target.motion.masked_fill(~mask, -100).flatten())
    torch.testing.assert_close(figures["motion_loss"], expected.detach())
    assert mask[:, :GIVEN].sum() == 0


def test_changed_scene_tokens_weigh_five_times_as_much(store):
    objective = _objective(store)
    batch = objective.prepare(SAMPLES)
    _, figures = _loss(objective)
    logits, _ = objective.model.scene_object_logits(batch.pseudo_scene, batch.pseudo_object)
    total = count = 0.0
    for row, true, pseudo in zip(
        logits.reshape(-1, N).log_softmax(-1), batch.target.scene.flatten(), batch.pseudo_scene.flatten(), strict=True
    ):
        weight = 5.0 if true != pseudo else 1.0
        total -= weight * row[true].item()
        count += weight
    assert figures["scene_loss"].item() == pytest.approx(total / count, rel=1e-5)


def test_the_loss_is_the_mean_of_the_three_parts(store):
    total, figures = _loss(_objective(store))
    parts = [figures[f"{name}_loss"] for name in ("scene", "object", "motion")]
    torch.testing.assert_close(total.detach(), sum(parts) / 3)
    total, figures = _loss(_objective(store, motion_weight=2.0))
    parts = [figures[f"{name}_loss"] for name in ("scene", "object", "motion")]
    torch.testing.assert_close(total.detach(), (parts[0] + parts[1] + 2 * parts[2]) / 4)


def test_weights_by_hand():
    assert weights(torch.tensor([1, 2, 3]), torch.tensor([1, 0, 3]), 5.0, 1.0).tolist() == [1, 5, 1]


def test_the_loss_is_a_function_of_seed_and_position(store):
    objective = _objective(store)
    first, again = _loss(objective)[0], _loss(objective)[0]
    assert torch.equal(first, again)
    moved = [Sample(s.position + 100, s.epoch, s.index) for s in SAMPLES]
    assert not torch.equal(_loss(objective, moved)[0], first)


def _read_by_guidance(objective):
    """The scene and object tokens that TransformerG reads in one step, and that step's gradients."""
    read = []
    guidance = objective.model.guidance

    def spy(*tokens):
        read.extend(tokens[:2])
        return guidance(*tokens)

    objective.model.guidance = spy
    total, _ = _loss(objective)
    del objective.model.guidance
    total.backward()
    return read


def test_guidance_reads_the_target_clips_tokens_by_default(store):
    objective = _objective(store)
    assert objective.config.guidance_from == "true"
    target = objective.prepare(SAMPLES).target
    read = _read_by_guidance(objective)
    assert torch.equal(read[0], target.scene)
    assert torch.equal(read[1], target.object)


def test_guidance_may_read_the_likeliest_tokens(store):
    objective = _objective(store, guidance_from="argmax")
    batch = objective.prepare(SAMPLES)
    logits = objective.model.scene_object_logits(batch.pseudo_scene, batch.pseudo_object)
    for tokens, part in zip(_read_by_guidance(objective), logits, strict=True):
        assert torch.equal(tokens, part.argmax(-1))


def test_guidance_may_read_tokens_drawn_from_transformer_so(store):
    # A TransformerSO that knows what follows (as good as) certainly feeds it; one that is torn feeds both answers.
    objective = _objective(store, guidance_from="sampled")
    model = objective.model
    with torch.no_grad():
        model.vocabulary.output.weight.zero_()
        model.vocabulary.output.bias.fill_(-50)
        model.vocabulary.output.bias[[3, 8]] = torch.tensor([1.0, 0.0])
    tokens = torch.cat([part.flatten() for part in _read_by_guidance(objective)])
    assert set(tokens.tolist()) == {3, 8}
    share = (tokens == 3).float().mean().item()
    assert share == pytest.approx(math.e / (1 + math.e), abs=0.2)  # 96 draws: 0.2 is four standard deviations
    # By seed and position: again the same, elsewhere others.
    assert torch.equal(torch.cat([part.flatten() for part in _read_by_guidance(objective)]), tokens)
    objective.seed = 8
    assert not torch.equal(torch.cat([part.flatten() for part in _read_by_guidance(objective)]), tokens)


def test_a_model_with_every_deviation_gets_gradients_everywhere(store):
    objective = _objective(store, build(merged_scene_object=True, **DEVIATIONS), moving_weight=2.0, label_smoothing=0.1)
    total, _ = _loss(objective)
    total.backward()
    without = [name for name, p in objective.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_store_of_other_tokens_is_refused(tmp_path):
    store = write_store(tmp_path, UNEQUAL)
    with pytest.raises(MismatchError, match="grids is"):
        _objective(store)
    other = build(UNEQUAL)
    other.codebook_digest = "another"
    with pytest.raises(MismatchError, match="codebook_digest is"):
        _objective(store, other)


def test_validation_is_the_same_each_time_whatever_the_seed_and_the_batch(store):
    model = build()
    figures = [
        TransformerObjective(model, store, LossConfig(), seed=seed, validation_batch=batch).validate(0)
        for seed, batch in ((0, 16), (1, 2))
    ]
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)
    assert {"scene_object_cross_entropy", "motion_accuracy", "start_cross_entropy"} <= set(figures[0])


def test_without_validation_clips_there_are_no_figures(tmp_path):
    assert _objective(write_store(tmp_path, validation=0)).validate(0) == {}


def test_with_nothing_given_every_scene_and_object_token_is_masked_and_weighs_alike(tmp_path):
    objective = _objective(write_store(tmp_path, given=0), build(given=0))
    model, batch = objective.model, objective.prepare(SAMPLES)
    _, figures = _loss(objective)
    masked = torch.full_like(batch.target.scene, model.mask)
    logits = model.scene_object_logits(masked, masked)
    for part, name in zip(logits, ("scene", "object"), strict=True):
        # A plain mean: all tokens weigh the same, those that are 0 like the rest.
        expected = F.cross_entropy(part.flatten(0, 2), getattr(batch.target, name).flatten())
        torch.testing.assert_close(figures[f"{name}_loss"], expected.detach())


def test_validation_with_nothing_given_reads_masks_too(tmp_path):
    objective = _objective(write_store(tmp_path, given=0), build(given=0))
    figures = objective.validate(0)
    target = objective.store.batch(objective.validation_rows).target
    masked = torch.full_like(target.scene, objective.model.mask)
    with torch.no_grad():
        logits = torch.stack(objective.model.scene_object_logits(masked, masked))
    true = torch.stack([target.scene, target.object])
    expected = F.cross_entropy(logits.flatten(0, 3), true.flatten())
    assert figures["scene_object_cross_entropy"] == pytest.approx(expected.item(), rel=1e-5)
    # Nothing is given, so every token is a changed one.
    assert figures["scene_object_changed_accuracy"] == pytest.approx(figures["scene_object_accuracy"])


def _gradients(objective, samples=SAMPLES):
    objective.module.zero_grad()
    _loss(objective, samples)[0].backward()
    return {name: p.grad.clone() for name, p in objective.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("form", [{}, {"merged_scene_object": True, **DEVIATIONS}, SINGLE])
def test_a_share_that_takes_no_sample_changes_no_bit(store, form):
    without = _gradients(_objective(store, build(**form)))
    objective = _objective(store, build(unconditional=True, **form), unconditional_share=1e-9)
    assert not any(objective.nothing_given(sample) for sample in SAMPLES)
    also = _gradients(objective)
    assert without.keys() == also.keys()
    assert all(torch.equal(gradient, also[name]) for name, gradient in without.items())


@pytest.mark.parametrize("form", [{}, {"merged_scene_object": True, **DEVIATIONS}, SINGLE])
def test_trained_on_nothing_given_alone_the_loss_does_not_know_the_pseudo_clip(store, form):
    for share, same in ((1.0, True), (0.0, False)):
        objective = _objective(store, build(unconditional=True, **form), unconditional_share=share)
        batch = objective.prepare(SAMPLES)
        other = replace(batch, pseudo_scene=(batch.pseudo_scene + 1) % N, pseudo_object=(batch.pseudo_object + 3) % N)
        losses = [objective.loss(one, SAMPLES, 0)[0] for one in (batch, other)]
        assert torch.equal(*losses) == same


def test_trained_on_nothing_given_alone_it_is_the_training_of_a_model_for_which_nothing_is_given(store, tmp_path):
    settings = {"positions": "learned"}  # of the same parameters whatever is given
    ours = _gradients(_objective(store, build(unconditional=True, **settings), unconditional_share=1.0))
    theirs = _gradients(_objective(write_store(tmp_path / "k0", given=0), build(given=0, **settings)))
    assert all(torch.equal(gradient, theirs[name]) for name, gradient in ours.items())


def test_which_samples_are_trained_with_nothing_given_depends_on_seed_and_position_alone(store):
    objective = _objective(store, build(unconditional=True), unconditional_share=0.3)
    chosen = [objective.nothing_given(Sample(p, 0, 0)) for p in range(2000)]
    assert sum(chosen) / 2000 == pytest.approx(0.3, abs=0.04)
    assert chosen[:50] == [objective.nothing_given(Sample(p, epoch=5, index=p % 3)) for p in range(50)]
    other = TransformerObjective(objective.model, store, objective.config, seed=8)
    assert chosen[:50] != [other.nothing_given(Sample(p, 0, 0)) for p in range(50)]


@pytest.mark.parametrize("form", [{}, {"show_given_motion": True}])
def test_samples_with_nothing_given_have_masks_in_its_place_and_the_others_keep_theirs(store, form):
    objective = _objective(store, build(unconditional=True, **form), unconditional_share=0.5)
    model, seen = objective.model, {}
    samples = [Sample(position, 0, position % 4) for position in range(8)]
    nothing = torch.tensor([objective.nothing_given(sample) for sample in samples])
    assert nothing.any()
    assert not nothing.all()
    original = {name: getattr(model, name) for name in ("scene_object_logits", "motion_logits")}

    def spy(name):
        def call(*inputs):
            seen[name] = inputs
            return original[name](*inputs)

        return call

    for name in original:
        setattr(model, name, spy(name))
    total, _ = _loss(objective, samples)
    batch = objective.prepare(samples)
    scene, object, given, *_ = seen["scene_object_logits"]
    expected = (batch.pseudo_scene, batch.pseudo_object, batch.target.motion[:, :GIVEN])
    for part, known in zip((scene, object, given), expected, strict=True):
        assert (part[nothing] == model.mask).all()
        assert torch.equal(part[~nothing], known[~nothing])
    # No motion token is given: the first frames are filled in like the others.
    masked = seen["motion_logits"][0] == model.mask
    assert masked[nothing].flatten(2).any(dim=2).all()
    assert not masked[~nothing][:, :GIVEN].any()
    assert total.isfinite()


def test_a_masked_pseudo_token_weighs_as_one_that_changes(store):
    # As with K = 0: in a batch of both kinds, a clip with nothing given weighs as one in which everything changes.
    objective = _objective(store, build(unconditional=True), unconditional_share=0.5)
    samples = [Sample(position, 0, position % 4) for position in range(8)]
    batch = objective.prepare(samples)
    nothing = torch.tensor([objective.nothing_given(sample) for sample in samples])
    scene, object = (part.clone() for part in (batch.pseudo_scene, batch.pseudo_object))
    scene[nothing], object[nothing] = objective.model.mask, objective.model.mask
    logits, _ = objective.model.scene_object_logits(scene, object)
    each = F.cross_entropy(logits.flatten(0, 2), batch.target.scene.flatten(), reduction="none").view_as(scene)
    weight = 1.0 + 4.0 * (scene != batch.target.scene)
    assert (weight[nothing] == 5).all()
    expected = (each * weight).sum() / weight.sum()
    torch.testing.assert_close(_loss(objective, samples)[1]["scene_loss"], expected.detach())


def test_validation_looks_at_both_where_both_are_trained(store):
    def keys(share):
        return set(_objective(store, build(unconditional=True), unconditional_share=share).validate(0))

    conditional = set(_objective(store).validate(0))
    unconditional = {f"unconditional_{name}" for name in conditional}
    assert (keys(0.0), keys(0.5), keys(1.0)) == (conditional, conditional | unconditional, unconditional)
    figures = _objective(store, build(unconditional=True), unconditional_share=0.5).validate(0)
    for name, value in _objective(store).validate(0).items():
        assert figures[name] == value


def test_validation_with_nothing_given_is_that_of_a_model_for_which_nothing_is_given(store, tmp_path):
    settings = {"positions": "learned"}
    ours = _objective(store, build(unconditional=True, **settings), unconditional_share=1.0).validate(0)
    theirs = _objective(write_store(tmp_path / "k0", given=0), build(given=0, **settings)).validate(0)
    assert ours == {f"unconditional_{name}": pytest.approx(value) for name, value in theirs.items()}


def test_a_share_needs_a_model_that_says_so(store):
    with pytest.raises(ValueError, match="unconditional=True"):
        _objective(store, unconditional_share=0.5)


@pytest.mark.parametrize("settings", [{}, {"merged_scene_object": True}])
def test_the_single_networks_losses_are_those_of_the_masked_tokens_among_all(store, settings):
    objective = _objective(store, build(**SINGLE, **settings))
    model, batch = objective.model, objective.prepare(SAMPLES)
    masks = [clip_mask(EQUAL, GIVEN, generator(7, "masking", s.position)) for s in SAMPLES]
    scene, object, motion = (torch.stack(part) for part in zip(*masks, strict=True))
    target = batch.target
    content = Content(
        target.scene.masked_fill(scene, N),
        target.object.masked_fill(object, N),
        batch.pseudo_scene,
        batch.pseudo_object,
    )
    asked = {name: torch.arange(getattr(target, name).numel()) for name in ("scene", "object", "motion")}
    logits = model.clip_logits(content, target.motion.masked_fill(motion, N), asked)
    _, figures = _loss(objective)
    for name, mask, pseudo in (("scene", scene, batch.pseudo_scene), ("object", object, batch.pseudo_object)):
        true = getattr(target, name)
        each = F.cross_entropy(logits[name], true.flatten(), reduction="none").view_as(true)
        weight = (1.0 + 4.0 * (true != pseudo)) * mask
        torch.testing.assert_close(figures[f"{name}_loss"], ((each * weight).sum() / weight.sum()).detach())
    expected = F.cross_entropy(logits["motion"], target.motion.masked_fill(~motion, -100).flatten())
    torch.testing.assert_close(figures["motion_loss"], expected.detach())


@pytest.mark.parametrize("source", ["sampled", "argmax"])
def test_the_single_network_has_no_transformer_g_to_feed(store, source):
    with pytest.raises(ConfigError, match=rf"guidance_from = '{source}': .*no TransformerG"):
        _objective(store, build(**SINGLE), guidance_from=source)


@pytest.mark.parametrize("form", [{}, SINGLE])
@pytest.mark.parametrize(
    ("grids", "parts"), [(NO_OBJECT, ["scene_loss", "motion_loss"]), (MOTION_ALONE, ["motion_loss"])]
)
def test_an_absent_component_has_no_part_in_the_loss_nor_in_the_validation(tmp_path, grids, parts, form):
    for source in ("true",) if form else ("true", "sampled", "argmax"):
        objective = _objective(write_store(tmp_path / source, grids), build(grids, **form), guidance_from=source)
        total, figures = _loss(objective)
        assert list(figures) == parts
        torch.testing.assert_close(total.detach(), sum(figures.values()) / len(parts))
        validation = objective.validate(0)
        assert all(math.isfinite(value) for value in validation.values())
        assert ("scene_object_accuracy" in validation) == ("scene_loss" in parts)
        total.backward()


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_of_every_form_gets_a_gradient(tmp_path, form):
    model = FORMS[form]()
    objective = _objective(write_store(tmp_path, model.grids), model)
    gradients = _gradients(objective)
    missing = [n for n, p in model.named_parameters() if n not in gradients or not gradients[n].any()]
    assert missing == []


def test_without_scene_and_object_transformer_g_has_its_queries_alone():
    model = FORMS["motion alone"]()
    guidance = model.guidance(*(torch.zeros(3, 0, 0, dtype=torch.int64) for _ in range(2)))
    assert guidance.frames.shape == (3, FRAMES, 16)
    assert torch.equal(guidance.frames[0], guidance.frames[2])  # nothing tells the clips apart


@pytest.mark.parametrize("form", GOLDEN_FORMS)
def test_a_tiny_seeded_step_gives_the_golden_numbers(store, form):
    """Losses of one training step, dropout on, and mean and deviation of every parameter's gradient.

    To write them anew, with the reason in the commit: delete tests/transformer/golden.json, then
    `python -m pytest tests/transformer -k golden` (it fails, having written), and the same again.
    """
    settings, loss = GOLDEN_FORMS[form]
    objective = _objective(store, build(**settings).train(), **loss)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # dropout
        total, figures = _loss(objective)
    total.backward()
    losses = {"total": total.item(), **{name: value.item() for name, value in figures.items()}}
    gradients = {
        name: [p.grad.mean().item(), p.grad.std(correction=0).item()] for name, p in objective.module.named_parameters()
    }
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if form not in golden:
        GOLDEN.write_text(json.dumps({**golden, form: {"losses": losses, "gradients": gradients}}, indent=1) + "\n")
        pytest.fail(f"wrote {form!r} into {GOLDEN}; look at it and run again")
    # Other CPUs and libraries add in another order; a change of the arithmetic shows above that.
    assert losses == pytest.approx(golden[form]["losses"], rel=1e-4)
    assert gradients.keys() == golden[form]["gradients"].keys()
    for name, (mean, deviation) in gradients.items():
        expected = golden[form]["gradients"][name]
        # A mean may cancel to nearly nothing: it is held to a share of the deviation.
        assert mean == pytest.approx(expected[0], rel=1e-3, abs=1e-3 * expected[1] + 1e-7), name
        assert deviation == pytest.approx(expected[1], rel=1e-3, abs=1e-7), name


@pytest.mark.parametrize(
    ("steps", "settings"),
    [
        (150, {}),
        (40, {"merged_scene_object": True, **DEVIATIONS}),
        (120, {"merged_scene_object": True, **SINGLE_DEVIATIONS}),
    ],
)
def test_a_small_model_learns_a_small_store_by_heart(store, steps, settings):
    torch.manual_seed(0)
    model = build(dropout=0.0, **{"hidden": 32, "mlp": 64, **settings}).train()
    objective = _objective(store, model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0)
    for step in range(steps):
        samples = [Sample(step * 4 + i, step, i) for i in range(4)]
        total, figures = objective.loss(objective.prepare(samples), samples, step)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    worst = max(figures[f"{name}_loss"].item() for name in ("scene", "object", "motion"))
    assert worst < math.log(N) / 8  # log N: what a model that has learnt nothing reaches
