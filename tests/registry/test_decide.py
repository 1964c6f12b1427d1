import dataclasses
import json
import math

import pytest

from moso.config import build
from moso.errors import ConfigError
from moso.registry.decide import Decision, decide, figures, to_record
from moso.registry.policy import PromotionPolicy

PROTOCOL = {"clips": 256, "given_frames": 2}


def a_policy(metric: str = "psnr", **settings) -> PromotionPolicy:
    return PromotionPolicy(metric=f"prediction.{metric}", higher_is_better=metric == "psnr", **settings)


def a_model(
    digest: str,
    figure: float | None,
    protocol: dict | None = None,
    protocol_digest: str = "p" * 64,
    metric: str = "psnr",
) -> dict:
    metrics = {} if figure is None else {f"prediction.{metric}": figure}
    return {
        "model_digest": digest,
        "protocol_digest": protocol_digest,
        "protocol": protocol or PROTOCOL,
        "metrics": metrics,
    }


def test_the_first_model_becomes_champion():
    decision = decide(a_model("new", 21.5), None, PromotionPolicy())
    assert (decision.promote, decision.outcome, decision.candidate_value) == (True, "promoted", 21.5)


@pytest.mark.parametrize(
    ("metric", "new", "old", "promote"),
    [("psnr", 22.0, 21.5, True), ("psnr", 21.5, 22.0, False), ("lpips_alex", 0.2, 0.3, True), ("fvd", 300, 200, False)],
)
def test_the_better_one_wins_in_the_metrics_direction(metric, new, old, promote):
    candidate, champion = a_model("new", new, metric=metric), a_model("old", old, metric=metric)
    decision = decide(candidate, champion, a_policy(metric))
    assert decision.promote is promote
    assert decision.outcome == ("promoted" if promote else "kept")
    assert decision.gain == pytest.approx((new - old) if metric == "psnr" else (old - new))


def test_a_tie_keeps_the_champion():
    decision = decide(a_model("new", 22.0), a_model("old", 22.0), PromotionPolicy())
    assert not decision.promote
    assert decision.reasons[0] == "a tie"


@pytest.mark.parametrize(("new", "promote"), [(22.25, True), (22.24, False), (22.5, True)])
def test_a_gain_must_reach_the_margin(new, promote):
    # 22.25 - 22.0 is exact in binary: the margin itself is enough.
    assert decide(a_model("new", new), a_model("old", 22.0), PromotionPolicy(margin=0.25)).promote is promote


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_no_number_is_refused_on_either_side(value):
    for candidate, champion in [(value, None), (value, 21.0), (21.0, value)]:
        held = None if champion is None else a_model("old", champion)
        decision = decide(a_model("new", candidate), held, PromotionPolicy())
        assert (decision.promote, decision.outcome) == (False, "refused")
        assert "no finite number" in decision.reasons[0]


def test_a_missing_metric_is_refused_and_those_there_are_named():
    decision = decide(
        a_model("new", 22.0), None, PromotionPolicy(metric="prediction.lpips_alex", higher_is_better=False)
    )
    assert decision.outcome == "refused"
    assert "prediction.lpips_alex is missing (figures there: prediction.psnr)" in decision.reasons[0]
    assert decide(a_model("new", 22.0), a_model("old", None), PromotionPolicy()).outcome == "refused"


def test_another_protocol_is_refused_and_the_difference_named():
    champion = a_model("old", 10.0, {"clips": 256, "given_frames": 4}, "q" * 64)
    decision = decide(a_model("new", 99.0), champion, PromotionPolicy())
    assert (decision.promote, decision.outcome) == (False, "refused")
    assert decision.reasons[1:] == ("protocol.given_frames: candidate 2, champion 4",)
    assert decide(a_model("new", 99.0, protocol_digest=""), champion, PromotionPolicy()).outcome == "refused"


def test_the_champion_is_never_promoted_over_itself_whatever_its_figures():
    for psnr in (22.0, 30.0, math.nan, None):
        decision = decide(a_model("same", psnr), a_model("same", 22.0), PromotionPolicy())
        assert (decision.promote, decision.outcome) == (False, "already_champion")


def test_a_decision_becomes_plain_json():
    decision = decide(a_model("new", 22.0), a_model("old", 21.0), PromotionPolicy(margin=0.5))
    record = json.loads(json.dumps(to_record(decision)))
    assert record["policy"] == dataclasses.asdict(PromotionPolicy(margin=0.5))
    assert record["gain"] == 1.0
    assert isinstance(decision, Decision)


def test_figures_are_the_numbers_by_dotted_name():
    values = {"b": {"psnr": 20, "unit": "dB", "flag": True, "list": [1]}, "a": 1.5, "nothing": None}
    assert figures(values) == {"a": 1.5, "b.psnr": 20.0}


@pytest.mark.parametrize(
    "settings",
    [
        {"margin": -0.1},
        {"margin": math.nan},
        {"metric": ""},
        {"require": "certain"},
        {"confidence": 0.5},
        {"confidence": 1.0},
        {"resamples": 99},
        {"seed": -1},
        {"higher_is_better": False},
        {"higher_is_better": True, "metric": "prediction.lpips_alex"},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        build(PromotionPolicy, settings)
