"""The gate on figures measured from pictures: PSNR and SSIM as evaluate takes them, clip by clip."""

import math

import pytest
import torch

from moso.evaluation.metrics import psnr, ssim
from moso.registry.decide import Decision, decide
from moso.registry.paired import paired
from moso.registry.policy import PromotionPolicy
from tests.small_model import smooth_clips

CLIPS, EPISODES = 64, 32
TRUTH = torch.from_numpy(smooth_clips(CLIPS).copy()).permute(0, 1, 4, 2, 3).float() / 255
PROTOCOL = {"clips": CLIPS, "episodes": EPISODES}


def noisy(levels: float, seed: int = 0) -> torch.Tensor:
    """The true clips with grey levels of noise, float [0, 1], as a predictor that is wrong by so much."""
    return TRUTH + torch.randn(TRUTH.shape, generator=torch.Generator().manual_seed(seed)) * levels / 255


def measured(a_table, predicted: torch.Tensor) -> tuple[dict, object]:
    """A model's figures and its table."""
    table = a_table(
        psnr(predicted, TRUTH).mean(dim=1).numpy(), EPISODES, ssim=ssim(predicted, TRUTH).mean(dim=1).numpy()
    )
    figures = {f"prediction.{name}": float(table[name].to_numpy().mean()) for name in ("psnr", "ssim")}
    return {"model_digest": "m" * 64, "protocol_digest": "p" * 64, "protocol": PROTOCOL, "metrics": figures}, table


def gate(a_table, candidate: torch.Tensor, champion: torch.Tensor, policy: PromotionPolicy, **changes) -> Decision:
    (new, ours), (old, theirs) = (measured(a_table, pictures) for pictures in (candidate, champion))
    return decide(new | {"model_digest": "n" * 64} | changes, old, policy, paired(ours, theirs, policy, PROTOCOL))


@pytest.mark.parametrize("metric", ["prediction.psnr", "prediction.ssim"])
def test_less_noise_is_promoted_over_more_and_more_is_not_over_less(a_table, metric):
    policy = PromotionPolicy(metric=metric, resamples=1000)
    better = gate(a_table, noisy(4), noisy(8), policy)
    assert (better.outcome, better.reasons[0]) == ("promoted", "better with 95 % confidence")
    if metric == "prediction.psnr":  # half the noise: 20 log10 2 dB
        assert better.gain == pytest.approx(20 * math.log10(2), abs=0.05)
    worse = gate(a_table, noisy(8), noisy(4), policy)
    assert (worse.outcome, worse.reasons[0]) == ("kept", "worse")
    assert worse.gain == pytest.approx(-better.gain)


def test_the_same_pictures_from_another_model_are_a_tie(a_table):
    decision = gate(a_table, noisy(4), noisy(4), PromotionPolicy(resamples=1000))
    assert (decision.outcome, decision.reasons[0], decision.gain) == ("kept", "a tie", 0.0)


def test_a_gain_in_psnr_that_costs_ssim_is_kept_out_by_the_guard_alone(a_table):
    # 12 levels too bright throughout: 26.5 dB, SSIM 0.989. 10 levels of noise: 28.1 dB, SSIM 0.968.
    bright = TRUTH + 12 / 255
    free = gate(a_table, noisy(10), bright, PromotionPolicy(resamples=1000))
    assert free.outcome == "promoted"
    guarded = gate(a_table, noisy(10), bright, PromotionPolicy(resamples=1000, guards={"prediction.ssim": 0.01}))
    assert guarded.outcome == "kept"
    assert guarded.reasons[0].startswith("the guarded prediction.ssim is worse beyond its tolerance 0.01")
    assert guarded.gain == free.gain


def test_one_pixel_that_is_no_number_refuses_the_candidate(a_table):
    broken = noisy(2)
    broken[3, 1, 0, 5, 5] = math.nan
    decision = gate(a_table, broken, noisy(8), PromotionPolicy(resamples=1000))
    assert decision.outcome == "refused"
    assert decision.reasons == ("the candidate's prediction.psnr is nan, no finite number",)


def test_without_a_champion_the_first_is_promoted_and_a_metric_that_was_not_measured_or_another_protocol_refuses(
    a_table,
):
    policy = PromotionPolicy(resamples=1000)
    new, _ = measured(a_table, noisy(8))
    assert decide(new, None, policy).promote
    other = PromotionPolicy(metric="prediction.lpips_alex", higher_is_better=False, resamples=1000)
    missing = gate(a_table, noisy(2), noisy(8), other)
    assert (missing.outcome, "lpips_alex is missing" in missing.reasons[0]) == ("refused", True)
    elsewhere = gate(a_table, noisy(2), noisy(8), policy, protocol_digest="q" * 64, protocol={**PROTOCOL, "clips": 63})
    assert (elsewhere.outcome, elsewhere.reasons[1]) == ("refused", "protocol.clips: candidate 63, champion 64")


def test_of_100_pairs_of_equally_good_predictors_at_most_5_are_promoted(a_table):
    policy = PromotionPolicy(resamples=400, guards={"prediction.ssim": 0.05})
    assert sum(gate(a_table, noisy(6, seed=i), noisy(6, seed=i + 100), policy).promote for i in range(100)) <= 5
    # And of 10 that have a twentieth less noise, 0.45 dB, all are: the gate is no wall.
    assert all(gate(a_table, noisy(5.7, seed=i), noisy(6, seed=i + 100), policy).promote for i in range(10))
