import math

import pytest
import torch

from moso.transformer import filling
from moso.transformer.config import SamplingConfig
from moso.transformer.filling import draw, gumbel, least_confident, schedule


def test_drawn_tokens_follow_the_distribution():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(30000, 3)
    uniform = torch.rand(30000, generator=torch.Generator().manual_seed(0))
    share = draw(logits, uniform, 1.0).bincount(minlength=3) / 30000
    assert share.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.01)
    # At temperature 1/2 the probabilities are squared: 25, 9, 4 of 38.
    share = draw(logits, uniform, 0.5).bincount(minlength=3) / 30000
    assert share.tolist() == pytest.approx([25 / 38, 9 / 38, 4 / 38], abs=0.01)
    share = draw(logits, uniform, 1.0, top_k=2).bincount(minlength=3) / 30000
    assert share.tolist() == pytest.approx([5 / 8, 3 / 8, 0], abs=0.01)


def test_draw_at_the_edges_of_the_uniform_numbers():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    for uniform in (0.0, 0.5, 1 - 2**-24):
        assert draw(logits, torch.tensor([uniform]), 1.0).tolist() == [1]
    assert draw(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([0.99]), 0.0).tolist() == [1]


def test_gumbel_noise_has_its_mean_and_is_finite():
    uniform = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    assert gumbel(uniform).mean().item() == pytest.approx(0.5772, abs=0.02)  # Euler's constant
    assert gumbel(uniform).var().item() == pytest.approx(math.pi**2 / 6, abs=0.05)
    assert gumbel(torch.tensor([0.0, 1 - 2**-24])).isfinite().all()


def test_least_confident_by_hand():
    confidence = torch.tensor([[[[3.0, 1.0], [torch.inf, 2.0]], [[1.0, 1.0], [1.0, torch.inf]]]])
    chosen = least_confident(confidence, torch.tensor([[2, 1]]))
    assert chosen.tolist() == [[[[False, True], [False, True]], [[True, False], [False, False]]]]


def test_several_tokens_of_one_distribution_are_those_drawn_one_by_one():
    random = torch.Generator().manual_seed(0)
    logits, uniform = torch.randn(5, 7, generator=random), torch.rand(5, 3, generator=random)
    for temperature, top_k in ((1.0, 0), (0.5, 2), (0.0, 0)):
        together = draw(logits, uniform, temperature, top_k)
        for i in range(3):
            assert torch.equal(together[:, i], draw(logits, uniform[:, i], temperature, top_k))


def test_a_draw_in_several_parts_is_the_draw_at_once(monkeypatch):
    random = torch.Generator().manual_seed(0)
    logits, uniform = torch.randn(10, 7, generator=random), torch.rand(10, generator=random)
    at_once = draw(logits, uniform, 1.0)
    for most in (1, 3 * 7):
        monkeypatch.setattr(filling, "AT_ONCE", most)
        assert torch.equal(draw(logits, uniform, 1.0), at_once)


def test_the_schedule_of_frames_with_other_numbers_of_masked_tokens_by_hand():
    # floor(n cos(30, 60, 90 degrees)) for n = 4, 1 and 0.
    left = schedule(torch.tensor([[4, 1, 0]]), 4, SamplingConfig(steps=3))
    assert left.tolist() == [[[3, 0, 0]], [[2, 0, 0]], [[0, 0, 0]]]
