"""Stage II with its switches: the same loss and gradients."""

import pytest
import torch
from small_transformers import FORMS, build, write_store

from moso.training.config import TrainingConfig
from moso.training.sampler import Sample
from moso.training.switches import switch_
from moso.transformer.config import LossConfig
from moso.transformer.objective import TransformerObjective

SAMPLES = [Sample(position=p, epoch=0, index=p) for p in range(3)]


def _turn(objective, **switches):
    switch_(objective.module, TrainingConfig(steps=1, batch=3, **switches))
    objective.module.zero_grad()
    torch.manual_seed(0)
    loss, _ = objective.loss(objective.prepare(SAMPLES), SAMPLES, 0)
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in objective.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("form", FORMS)
def test_recomputed_activations_give_the_same_bits_dropout_included(tmp_path, form):
    model = FORMS[form]().train()
    objective = TransformerObjective(model, write_store(tmp_path / "tokens", model.grids), LossConfig(), seed=7)
    loss, gradients = _turn(objective)
    again, theirs = _turn(objective, recompute=True)
    assert torch.equal(loss, again)
    for name, gradient in gradients.items():
        assert torch.equal(theirs[name], gradient), name


@pytest.mark.parametrize("form", ["paper", "merged", "single"])
def test_plain_attention_is_the_fused_one(tmp_path, form):
    model = FORMS[form]()
    objective = TransformerObjective(model, write_store(tmp_path / "tokens", model.grids), LossConfig(), seed=7)
    loss, gradients = _turn(objective)
    plain, theirs = _turn(objective, fused_attention=False)
    torch.testing.assert_close(plain, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(theirs[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_the_output_layer_sees_masked_motion_tokens_alone(tmp_path, monkeypatch):
    """In training as in sampling: rows it is given, against the masked tokens there are."""
    model, seen = build(), []
    logits = model.vocabulary.logits
    monkeypatch.setattr(model.vocabulary, "logits", lambda x: seen.append(x.numel() // x.shape[-1]) or logits(x))
    motion = torch.zeros(2, *model.grids.shape("motion"), dtype=torch.int64)
    motion[:, 3:, 0] = model.mask
    scene, object = (torch.zeros(2, *model.grids.shape(name), dtype=torch.int64) for name in ("scene", "object"))
    answers = model.motion_logits(motion, model.guidance(scene, object))
    assert seen == [int((motion == model.mask).sum())] == [len(answers)]
