"""Promotion as a pure function: decide(candidate, champion, policy, paired) -> decision with reasons.

Effects (registering, moving the alias, writing promotion.json) come after and are none of this file's business.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from moso.config import flat
from moso.evaluation.metrics import higher_is_better
from moso.evaluation.statistics import POWER, Interval
from moso.registry.paired import Paired
from moso.registry.policy import PromotionPolicy

Outcome = Literal["promoted", "kept", "refused", "already_champion"]
# Figures and tables come from one evaluation: their means agree to rounding, in any unit.
AGREEMENT = 1e-6


@dataclass(frozen=True)
class Decision:
    """What was compared and what follows.

    Attributes:
        promote: the alias moves to the candidate.
        outcome: promoted; kept (the champion stays: not better by the margin, or not surely); refused (not comparable);
            already_champion (the same model).
        reasons: for a reader, the most important first.
        candidate_value: the candidate's figure; None where it is missing or not finite.
        champion_value: the champion's figure, likewise.
        gain: how much better the candidate is, positive whatever the metric's direction; None where not compared.
        gain_low: lower end of its interval, likewise; None where there is none.
        gain_high: upper end of it.
        detectable: the smallest difference that these clips show at 80 % power, in the metric's unit.
        guards: each guarded figure -> what was found of it, "holds" and why; {} where none was looked at.
    """

    promote: bool
    outcome: Outcome
    reasons: tuple[str, ...]
    policy: PromotionPolicy
    candidate_value: float | None = None
    champion_value: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    detectable: float | None = None
    guards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def decide(
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    policy: PromotionPolicy,
    paired: Paired | None = None,
) -> Decision:
    """Whether `candidate` takes the place of `champion`.

    Args:
        candidate: "model_digest", "protocol_digest", "protocol" (plain data, may be empty) and "metrics"
            (dotted name -> figure, in the units of metrics.json).
        champion: the same of the present champion; None where there is none.
        policy: metric, direction, margin, how sure.
        paired: both over the same clips (moso.registry.paired); None where nobody compared them.

    Returns:
        The decision; it depends on nothing but the arguments, and the same model is never promoted over itself.
    """
    if champion is not None and candidate["model_digest"] == champion["model_digest"]:
        return Decision(False, "already_champion", ("already champion: the same model digest",), policy)

    value, problem = _figure(candidate, policy.metric)
    if problem:
        return Decision(False, "refused", (f"the candidate's {policy.metric} {problem}",), policy)
    assert value is not None
    if champion is None:
        reason = f"no champion yet; {policy.metric} = {value:.6g}"
        return Decision(True, "promoted", (reason, *_below(candidate, policy)), policy, candidate_value=value)

    difference = protocol_difference(candidate, champion)
    if difference:
        return Decision(False, "refused", difference, policy, candidate_value=value)
    held, problem = _figure(champion, policy.metric)
    if problem:
        reason = f"the champion's {policy.metric} {problem}: evaluate the champion again, or move the alias by hand"
        return Decision(False, "refused", (reason,), policy, candidate_value=value)
    assert held is not None
    paired = paired or Paired(absent="candidate and champion were not compared clip by clip")
    faults = paired.faults or _disagreement(value - held, paired.intervals.get(policy.metric))
    if faults:
        return Decision(False, "refused", faults, policy, value, held)
    guards, problems = _guarded(candidate, champion, policy, paired)
    if problems:
        return Decision(False, "refused", problems, policy, value, held)
    judged = dataclasses.replace(_judge(value, held, policy, paired), guards=guards)
    if not judged.promote or all(found["holds"] for found in guards.values()):
        return judged
    broken = tuple(str(found["why"]) for found in guards.values() if not found["holds"])
    return dataclasses.replace(judged, promote=False, outcome="kept", reasons=(*broken, *judged.reasons))


def figures(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers in nested plain data by dotted name, sorted; NaN is kept, everything that is no number left out."""
    flat: dict[str, float] = {}
    for key in sorted(values):
        name, value = f"{prefix}{key}", values[key]
        if isinstance(value, Mapping):
            flat |= figures(value, f"{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            flat[name] = float(value)
    return flat


def to_record(decision: Decision) -> dict[str, Any]:
    """Plain data for promotion.json."""
    policy = {**vars(decision.policy), "guards": dict(decision.policy.guards)}
    guards = {name: dict(found) for name, found in decision.guards.items()}
    return {**vars(decision), "reasons": list(decision.reasons), "policy": policy, "guards": guards}


def protocol_difference(candidate: Mapping[str, Any], champion: Mapping[str, Any]) -> tuple[str, ...]:
    """Why figures of the two cannot be compared, the fields of their protocols that differ by name; () where they can.

    Args:
        candidate: "protocol_digest" and "protocol", as `decide` takes it.
        champion: likewise.
    """
    ours, theirs = candidate.get("protocol_digest"), champion.get("protocol_digest")
    if ours and theirs and ours == theirs:
        return ()
    if not ours or not theirs:
        who = "candidate" if not ours else "champion"
        return (f"the {who}'s figures name no protocol: they cannot be compared",)
    summary = f"measured under another protocol: candidate {ours[:12]}, champion {theirs[:12]}"
    new, old = flat(candidate.get("protocol") or {}), flat(champion.get("protocol") or {})
    fields = sorted(k for k in new.keys() | old.keys() if new.get(k) != old.get(k))
    return (summary, *(f"protocol.{k}: candidate {new.get(k)!r}, champion {old.get(k)!r}" for k in fields))


def _judge(value: float, held: float, policy: PromotionPolicy, paired: Paired) -> Decision:
    sign = 1 if policy.higher_is_better else -1
    gain = sign * (value - held)
    interval = paired.intervals.get(policy.metric)
    if interval is None or policy.require == "gain":
        better = gain > 0 and gain >= policy.margin
        verdict = "better by the margin" if better else _falls_short(gain)
    else:
        better, verdict = _confident(
            gain, sorted((sign * interval.low, sign * interval.high)), interval.episodes, policy
        )
    compared = (
        f"{policy.metric}: candidate {value:.6g}, champion {held:.6g}, gain {gain:+.6g}, margin {policy.margin:.6g}"
    )
    outcome: Outcome = "promoted" if better else "kept"
    if interval is None:
        why = paired.absent or paired.without.get(policy.metric, f"{policy.metric} has no value for each clip")
        reasons = (verdict, compared, f"no interval could be had, the gain alone decided: {why}")
        return Decision(better, outcome, reasons, policy, value, held, gain)
    low, high = sorted((sign * interval.low, sign * interval.high))
    least = interval.detectable(POWER)
    over = (
        f"over the same {interval.clips} clips of {interval.episodes} episodes: mean gain {sign * interval.mean:+.6g}, "
        f"{100 * policy.confidence:g} % interval {low:+.6g} to {high:+.6g}; the smallest difference that this test set "
        f"shows at {100 * POWER:g} % power is {least:.6g}"
    )
    small = f"the test set is too small to show the margin: {policy.margin:.6g} lies below {least:.6g}"
    too_small = not better and least > policy.margin > 0
    everything = (verdict, compared, over, *((small,) if too_small else ()))
    return Decision(better, outcome, everything, policy, value, held, gain, low, high, least)


def _guarded(
    candidate: Mapping[str, Any], champion: Mapping[str, Any], policy: PromotionPolicy, paired: Paired
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Each guarded figure -> candidate, champion, gain, low, high, tolerance, holds, why; and what forbids to look."""
    guards: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for name, tolerance in policy.guards.items():
        figures_of = [_figure(model, name) for model in (candidate, champion)]
        told = [
            f"the {who}'s guarded {name} {problem}"
            for who, (_, problem) in zip(("candidate", "champion"), figures_of, strict=True)
            if problem
        ]
        interval = paired.intervals.get(name)
        new, old = figures_of[0][0], figures_of[1][0]
        if not told and new is not None and old is not None:
            told = list(_disagreement(new - old, interval))
        if told or new is None or old is None:
            problems += told
            continue
        sign = 1 if higher_is_better(name.rpartition(".")[2]) else -1
        gain = sign * (new - old)
        low, high = sorted((sign * interval.low, sign * interval.high)) if interval else (None, None)
        worst = gain if low is None or policy.require == "gain" else low
        # The mean of equal clips may differ from 0 by a rounding; no tolerance is meant that exactly.
        holds = worst >= -tolerance - AGREEMENT * max(abs(new), abs(old))
        compared = f"candidate {new:.6g}, champion {old:.6g}, gain {gain:+.6g}"
        over = "" if low is None else f", {100 * policy.confidence:g} % interval {low:+.6g} to {high:+.6g}"
        if holds:
            verdict = "is not worse beyond its tolerance"
        elif gain < -tolerance:
            verdict = "is worse beyond its tolerance"
        else:
            verdict = "may be worse beyond its tolerance: these clips do not show the contrary"
        why = f"the guarded {name} {verdict} {tolerance:.6g}: {compared}{over}"
        found = {"candidate": new, "champion": old, "gain": gain, "low": low, "high": high, "tolerance": tolerance}
        guards[name] = {**found, "holds": holds, "why": why}
    return guards, tuple(problems)


def _confident(gain: float, ends: Sequence[float], episodes: int, policy: PromotionPolicy) -> tuple[bool, str]:
    sure = f"with {100 * policy.confidence:g} % confidence"
    low, high = ends
    if gain < 0 <= high:
        return False, f"no better, and not worse {sure} either"
    if gain <= 0 or gain < policy.margin:
        return False, _falls_short(gain)
    if episodes < policy.least_episodes:
        remedy = "add test episodes, or let promote.policy.require be gain"
        return False, f"{episodes} episodes show nothing {sure} (at least {policy.least_episodes} can): {remedy}"
    if low > policy.margin:
        return True, f"better {sure}" + (" by more than the margin" if policy.margin else "")
    return False, f"better, but not {sure}" + (" by more than the margin" if policy.margin else "")


def _falls_short(gain: float) -> str:
    if gain == 0:
        return "a tie"
    return "worse" if gain < 0 else "gain below the margin"


def _below(candidate: Mapping[str, Any], policy: PromotionPolicy) -> tuple[str, ...]:
    """Baselines that the candidate's metric surely does not reach: a first champion may be poor, and that is said."""
    metric = policy.metric.rpartition(".")[2]
    found = []
    for name, value in sorted((candidate.get("metrics") or {}).items()):
        if name.startswith("margins.over_") and name.endswith(
            f".{metric}.{'high' if policy.higher_is_better else 'low'}"
        ):
            worse = value < 0 if policy.higher_is_better else value > 0
            baseline = name.split(".")[1].removeprefix("over_")
            if worse:
                found.append(f"it does not reach the baseline {baseline} (the whole interval of its {metric} is worse)")
    return tuple(found)


def _disagreement(difference: float, interval: Interval | None) -> tuple[str, ...]:
    if interval is None or math.isclose(interval.mean, difference, rel_tol=AGREEMENT, abs_tol=AGREEMENT):
        return ()
    return (
        f"figures and tables are not of one evaluation: the figures differ by {difference:+.6g}, clip by clip by "
        f"{interval.mean:+.6g}; rerun evaluate and promote for both models",
    )


def _figure(model: Mapping[str, Any], metric: str) -> tuple[float | None, str]:
    metrics = model.get("metrics") or {}
    value = metrics.get(metric)
    if value is None:
        known = ", ".join(sorted(metrics)) or "none"
        return None, f"is missing (figures there: {known})"
    if not math.isfinite(value):
        return None, f"is {value}, no finite number"
    return float(value), ""
