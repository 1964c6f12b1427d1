"""Promotion as a pure function: decide(candidate, champion, policy) -> decision with reasons.

Effects (registering, moving the alias, writing promotion.json) come after and are none of this file's business. A later
issue deepens the comparison to a paired bootstrap over clips; the signature stays.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from moso.errors import ConfigError

Outcome = Literal["promoted", "kept", "refused", "already_champion"]


@dataclass(frozen=True)
class PromotionPolicy:
    """When a candidate replaces the champion.

    Attributes:
        metric: dotted name of a figure in metrics.json. PSNR of the prediction: what the training is for, in dB.
        higher_is_better: the metric's direction.
        margin: least gain, in the metric's unit; a gain of 0 never promotes. No source: the default takes any gain.
    """

    metric: str = "prediction.psnr"
    higher_is_better: bool = True
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not self.metric.strip("."):
            raise ConfigError(
                "metric", self.metric, "must name a figure of metrics.json", "for example prediction.psnr"
            )
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ConfigError("margin", self.margin, "must be a finite number of at least 0")


@dataclass(frozen=True)
class Decision:
    """What was compared and what follows.

    Attributes:
        promote: the alias moves to the candidate.
        outcome: promoted; kept (the champion stays: not better by the margin); refused (not comparable);
            already_champion (the same model).
        reasons: for a reader, the most important first.
        candidate_value: the candidate's figure; None where it is missing or not finite.
        champion_value: the champion's figure, likewise.
        gain: how much better the candidate is, positive whatever the metric's direction; None where not compared.
    """

    promote: bool
    outcome: Outcome
    reasons: tuple[str, ...]
    policy: PromotionPolicy
    candidate_value: float | None = None
    champion_value: float | None = None
    gain: float | None = None


def decide(candidate: Mapping[str, Any], champion: Mapping[str, Any] | None, policy: PromotionPolicy) -> Decision:
    """Whether `candidate` takes the place of `champion`.

    Args:
        candidate: "model_digest", "protocol_digest", "protocol" (plain data, may be empty) and "metrics"
            (dotted name -> figure, in the units of metrics.json).
        champion: the same of the present champion; None where there is none.
        policy: metric, direction, margin.

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
        return Decision(True, "promoted", (reason,), policy, candidate_value=value)

    difference = _protocol_difference(candidate, champion)
    if difference:
        return Decision(False, "refused", difference, policy, candidate_value=value)
    held, problem = _figure(champion, policy.metric)
    if problem:
        reason = f"the champion's {policy.metric} {problem}: evaluate the champion again, or move the alias by hand"
        return Decision(False, "refused", (reason,), policy, candidate_value=value)
    assert held is not None

    gain = value - held if policy.higher_is_better else held - value
    better = gain > 0 and gain >= policy.margin
    text = f"{policy.metric}: candidate {value:.6g}, champion {held:.6g}, gain {gain:+.6g}, margin {policy.margin:.6g}"
    reasons = (_verdict(gain, better), text)
    return Decision(better, "promoted" if better else "kept", reasons, policy, value, held, gain)


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
    return {**dataclasses.asdict(decision), "reasons": list(decision.reasons)}


def _verdict(gain: float, better: bool) -> str:
    if better:
        return "better by the margin"
    if gain == 0:
        return "a tie"
    return "worse" if gain < 0 else "gain below the margin"


def _figure(model: Mapping[str, Any], metric: str) -> tuple[float | None, str]:
    metrics = model.get("metrics") or {}
    value = metrics.get(metric)
    if value is None:
        known = ", ".join(sorted(metrics)) or "none"
        return None, f"is missing (figures there: {known})"
    if not math.isfinite(value):
        return None, f"is {value}, no finite number"
    return float(value), ""


def _protocol_difference(candidate: Mapping[str, Any], champion: Mapping[str, Any]) -> tuple[str, ...]:
    ours, theirs = candidate.get("protocol_digest"), champion.get("protocol_digest")
    if ours and theirs and ours == theirs:
        return ()
    if not ours or not theirs:
        who = "candidate" if not ours else "champion"
        return (f"the {who}'s figures name no protocol: they cannot be compared",)
    summary = f"measured under another protocol: candidate {ours[:12]}, champion {theirs[:12]}"
    new, old = _flat(candidate.get("protocol") or {}), _flat(champion.get("protocol") or {})
    fields = sorted(k for k in new.keys() | old.keys() if new.get(k) != old.get(k))
    return (summary, *(f"protocol.{k}: candidate {new.get(k)!r}, champion {old.get(k)!r}" for k in fields))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
