"""Stage II in parts of a batch: loss, figures and gradients are those of the whole batch, up to rounding."""

import pytest
import torch
from small_transformers import FORMS, build, write_store

from moso.training.sampler import Sample
from moso.transformer.config import LossConfig
from moso.transformer.objective import TransformerObjective

SAMPLES = [Sample(position=p, epoch=0, index=i) for p, i in ((8, 2), (9, 0), (10, 3), (11, 1), (12, 2))]


def _turn(objective, count):
    objective.module.zero_grad()
    figures, total = {}, 0.0
    batch = objective.prepare(SAMPLES)
    parts = [(batch, SAMPLES)] if count == 1 else objective.parts(batch, SAMPLES, count)
    assert [len(of) for _, of in parts] == {1: [5], 2: [2, 3], 5: [1] * 5}[count]
    for part, of in parts:
        loss, extra = objective.loss(part, of, 0)
        share = len(of) / len(SAMPLES)
        (loss * share).backward()
        total += loss.item() * share
        for name, value in extra.items():
            figures[name] = figures.get(name, 0.0) + value.item() * share
    return total, figures, {n: p.grad.clone() for n, p in objective.module.named_parameters() if p.grad is not None}


def _same(objective, count):
    loss, figures, gradients = _turn(objective, 1)
    parted, their_figures, theirs = _turn(objective, count)
    assert parted == pytest.approx(loss, rel=1e-5)
    assert their_figures == pytest.approx(figures, rel=1e-5)
    assert theirs.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(theirs[name], gradient, rtol=1e-3, atol=1e-6, msg=name)
    return theirs


@pytest.mark.parametrize("form", FORMS)
def test_uneven_parts_add_up_to_the_whole_in_every_form(tmp_path, form):
    model = FORMS[form]()  # in evaluation mode: dropout would draw other numbers
    store = write_store(tmp_path / "tokens", model.grids)
    loss = LossConfig(moving_weight=3.0, changed_weight=2.0, unchanged_weight=0.5, label_smoothing=0.1)
    _same(TransformerObjective(model, store, loss, seed=7), 2)


def test_clip_by_clip_with_drawn_guidance_and_clips_of_which_nothing_is_given(tmp_path):
    store = write_store(tmp_path / "tokens")
    loss = LossConfig(guidance_from="sampled", unconditional_share=0.5, moving_weight=3.0)
    objective = TransformerObjective(build(unconditional=True), store, loss, seed=7)
    assert {objective.nothing_given(sample) for sample in SAMPLES} == {True, False}
    _same(objective, 5)


def test_a_mean_of_the_parts_own_means_would_be_another_loss(tmp_path):
    """Clips mask different numbers of tokens: without the whole batch's weights the parts do not add up."""
    objective = TransformerObjective(build(), write_store(tmp_path / "tokens"), LossConfig(), seed=7)
    _, figures, _ = _turn(objective, 1)
    parts = objective.parts(objective.prepare(SAMPLES), SAMPLES, 5)
    naive = [objective.loss(part.batch, of, 0)[1]["motion_loss"] for part, of in parts]
    assert torch.stack(naive).mean().item() != pytest.approx(figures["motion_loss"], rel=1e-4)
