"""What a gate asks of a data report: each check with what was found, what is tolerated, and whether it passes.

The limits are ours, without a source: they catch deliveries that are broken, not those that are merely hard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

QUARANTINE_SHARE = 0.01
DUPLICATE_SHARE = 0.01
STILL_SHARE = 0.5
OBJECT_SHARE = (0.0005, 0.5)
OUTSIDE_STD = 1.0


def checks(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a check: id (stable), ok, found, limit, text.

    Args:
        report: the rest of the data report (moso.evaluation.data_report.figures).
    """
    splits = report["splits"]
    rows = [
        _row(
            "splits_present",
            [s for s in ("train", "validation", "test") if s not in splits],
            [],
            "splits without an episode",
        ),
        _row("splits_disjoint", sum(report["leaks"].values()), 0, "ids, recordings or frames that lie in two splits"),
        _row(
            "official_splits",
            bool((report["data"].get("splits") or {}).get("substitute")),
            False,
            "a published list was not to be had and a seeded hash stands in for it",
        ),
        _row(
            "quarantine_share",
            report["quarantine"]["share"],
            QUARANTINE_SHARE,
            "share of records that were set aside as bad",
        ),
        _row(
            "duplicate_share",
            report["duplicates"]["episodes"] / max(1, sum(s["episodes"] for s in splits.values())),
            DUPLICATE_SHARE,
            "share of episodes whose frames repeat another one's",
        ),
    ]
    for split, figures in splits.items():
        still = figures["motion"]["still_share"]
        rows.append(_row(f"still_share.{split}", still, STILL_SHARE, "share of frames equal to the one before"))
    for split, effect in report["thresholds"]["splits"].items():
        rows += [
            _row(f"object_share.{split}", row["object"], list(OBJECT_SHARE), "share of pixels that go to object")
            for row in effect
            if (row["low"], row["high"]) == (report["thresholds"]["low"], report["thresholds"]["high"])
        ]
    for name in ("actions", "states"):
        if name in splits.get("train", {}):
            rows += _signal_checks(name, splits)
    return rows


def _signal_checks(name: str, splits: Mapping[str, Any]) -> list[dict[str, Any]]:
    train = splits["train"][name]
    constant = [n for n, std in zip(train["names"], train["std"], strict=True) if std == 0]
    outside = set()
    for split, figures in splits.items():
        if split == "train" or name not in figures:
            continue
        for i, dimension in enumerate(train["names"]):
            room = OUTSIDE_STD * train["std"][i]
            if figures[name]["min"][i] < train["min"][i] - room or figures[name]["max"][i] > train["max"][i] + room:
                outside.add(f"{dimension} ({split})")
    return [
        _row(f"{name}_vary", constant, [], "dimensions that never change in the training split"),
        _row(
            f"{name}_in_range",
            sorted(outside),
            [],
            f"dimensions that go beyond the training split's range by more than {OUTSIDE_STD:g} of its std",
        ),
    ]


def _row(id: str, found: Any, limit: Any, text: str) -> dict[str, Any]:
    if isinstance(found, (bool, list)):
        ok = found == limit
    elif found is None:
        ok = False
    elif isinstance(limit, list):
        ok = limit[0] <= found <= limit[1]
    else:
        ok = found <= limit
    return {"id": id, "ok": bool(ok), "found": found, "limit": limit, "text": text}
