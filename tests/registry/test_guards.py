"""Guarded metrics: what must not get worse, over real tables of two models on the same clips."""

import math

import numpy as np
import pytest

from moso.config import build
from moso.registry.decide import Decision, decide, to_record
from moso.registry.paired import paired
from moso.registry.policy import PromotionPolicy

OLD = np.random.default_rng(4).normal(20, 3, 40)
EVEN = np.tile([1.0, -1.0], 20)  # mean 0; at 40 clips a standard error of 0.158


def model(digest: str, **figures: float) -> dict:
    metrics = {f"prediction.{name}": float(np.mean(value)) for name, value in figures.items()}
    return {"model_digest": digest, "protocol_digest": "p" * 64, "protocol": {"clips": 40}, "metrics": metrics}


def guarded(a_table, guard: str, gains: np.ndarray, tolerance: float, **settings) -> Decision:
    """A candidate that is surely 1 dB better, whose `guard` differs by `gains`, clip by clip."""
    policy = PromotionPolicy(guards={f"prediction.{guard}": tolerance}, resamples=2000, **settings)
    old = np.linspace(0.5, 0.9, 40)
    ours, theirs = a_table(OLD + 1, **{guard: old + gains}), a_table(OLD, **{guard: old})
    new, held = model("new", psnr=OLD + 1, **{guard: old + gains}), model("old", psnr=OLD, **{guard: old})
    return decide(new, held, policy, paired(ours, theirs, policy, {"clips": 40}))


@pytest.mark.parametrize(
    ("guard", "gains", "promote"),
    [
        ("ssim", np.full(40, -0.02), False),
        ("ssim", np.full(40, -0.005), True),
        ("ssim", np.full(40, 0.3), True),
        ("ssim", np.zeros(40), True),  # a tie
        ("lpips_alex", np.full(40, 0.02), False),  # a distance: more is worse
        ("lpips_alex", np.full(40, -0.3), True),
    ],
)
def test_a_better_candidate_is_promoted_only_where_no_guarded_metric_is_worse_beyond_its_tolerance(
    a_table, guard, gains, promote
):
    decision = guarded(a_table, guard, gains, 0.01)
    assert (decision.promote, decision.outcome) == (promote, "promoted" if promote else "kept")
    found = decision.guards[f"prediction.{guard}"]
    assert found["holds"] is promote
    assert found["gain"] == pytest.approx(gains[0] if guard == "ssim" else -gains[0])
    assert ("is worse beyond its tolerance 0.01" in decision.reasons[0]) is not promote


def test_a_tie_holds_with_no_tolerance_at_all(a_table):
    assert guarded(a_table, "ssim", np.zeros(40), 0.0).promote
    assert not guarded(a_table, "ssim", np.full(40, -1e-3), 0.0).promote


def test_what_the_clips_do_not_show_to_be_within_the_tolerance_is_not_promoted_but_by_the_gain(a_table):
    # The mean does not change; 0.1 +- this way and that leaves +-0.031 at 95 %.
    unsure = guarded(a_table, "ssim", 0.1 * EVEN, 0.02)
    assert (unsure.promote, unsure.outcome) == (False, "kept")
    assert "may be worse beyond its tolerance" in unsure.reasons[0]
    assert unsure.reasons[1] == "better with 95 % confidence"
    found = unsure.guards["prediction.ssim"]
    assert (found["low"], found["high"]) == pytest.approx((-0.031, 0.031), abs=0.004)
    assert guarded(a_table, "ssim", 0.1 * EVEN, 0.04).promote
    assert guarded(a_table, "ssim", 0.1 * EVEN, 0.02, require="gain").promote


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_guarded_figure_that_is_missing_or_no_number_is_refused_on_either_side(value):
    policy = PromotionPolicy(guards={"prediction.ssim": 0.01})
    for side in (0, 1):
        models = [model("new", psnr=22.0, ssim=0.8), model("old", psnr=21.0, ssim=0.8)]
        if value is None:
            del models[side]["metrics"]["prediction.ssim"]
        else:
            models[side]["metrics"]["prediction.ssim"] = value
        decision = decide(*models, policy)
        assert (decision.promote, decision.outcome) == (False, "refused")
        who = ("candidate", "champion")[side]
        assert decision.reasons[0].startswith(f"the {who}'s guarded prediction.ssim is ")


def test_a_first_champion_needs_no_guard():
    policy = PromotionPolicy(guards={"prediction.ssim": 0.01})
    assert decide(model("new", psnr=22.0), None, policy).promote


def test_a_figure_that_no_single_clip_has_is_held_by_its_mean(a_table):
    policy = PromotionPolicy(guards={"prediction.fvd": 5.0}, resamples=1000)
    pairs = paired(a_table(OLD + 1), a_table(OLD), policy, {"clips": 40})
    held = model("old", psnr=OLD, fvd=200.0)
    assert decide(model("new", psnr=OLD + 1, fvd=204.0), held, policy, pairs).promote
    worse = decide(model("new", psnr=OLD + 1, fvd=206.0), held, policy, pairs)
    assert (worse.outcome, worse.guards["prediction.fvd"]["low"]) == ("kept", None)


def test_a_guards_table_that_does_not_agree_with_its_figure_is_refused(a_table):
    policy = PromotionPolicy(guards={"prediction.ssim": 0.01}, resamples=1000)
    flat = np.full(40, 0.8)
    pairs = paired(a_table(OLD + 1, ssim=flat), a_table(OLD, ssim=flat), policy, {"clips": 40})
    decision = decide(model("new", psnr=OLD + 1, ssim=0.9), model("old", psnr=OLD, ssim=0.8), policy, pairs)
    assert decision.outcome == "refused"
    assert "not of one evaluation" in decision.reasons[0]


def test_a_candidate_that_is_no_better_is_kept_for_that_reason_first(a_table):
    policy = PromotionPolicy(guards={"prediction.ssim": 0.01}, resamples=1000)
    decision = decide(model("new", psnr=20.0, ssim=0.1), model("old", psnr=21.0, ssim=0.8), policy)
    assert (decision.outcome, decision.reasons[0]) == ("kept", "worse")
    assert decision.guards["prediction.ssim"]["holds"] is False


def test_guards_are_read_from_a_preset_and_written_into_the_record(a_table):
    policy = build(PromotionPolicy, {"guards": {"prediction.ssim": 0.01}})
    assert policy.guards == {"prediction.ssim": 0.01}
    record = to_record(guarded(a_table, "ssim", np.zeros(40), 0.01))
    assert record["policy"]["guards"] == {"prediction.ssim": 0.01}
    assert record["guards"]["prediction.ssim"]["holds"] is True


def test_of_100_equally_good_candidates_under_a_guard_at_most_5_are_promoted(a_table):
    random = np.random.default_rng(18)
    policy = PromotionPolicy(guards={"prediction.ssim": 0.05}, resamples=400)
    old, structure = random.normal(20, 3, 128), random.uniform(0.5, 0.9, 128)
    promoted = []
    for _ in range(100):
        new, other = old + random.normal(0, 1, 128), structure + random.normal(0, 0.05, 128)
        pairs = paired(a_table(new, ssim=other), a_table(old, ssim=structure), policy, {"clips": 128})
        models = model("new", psnr=new, ssim=other), model("old", psnr=old, ssim=structure)
        promoted.append(decide(*models, policy, pairs).promote)
    assert sum(promoted) <= 5
