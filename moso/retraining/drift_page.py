"""The drift report as one page that asks for nothing from outside, and as lines of a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moso.evaluation.report.assets import STYLE
from moso.evaluation.report.markup import page_head, tag

HEADS = ("measure", "unit", "training", "new", "difference", "shift")
TOKEN_HEADS = ("component", "perplexity_training", "perplexity_new", "total_variation", "unseen")


def drift_lines(drift: Mapping[str, Any]) -> list[str]:
    """A line a measure, for a terminal: what `as_metrics` gives."""
    lines = [
        f"{name}: training {_show(of['training'])}, new {_show(of['new'])} {of['unit']}"
        f" (shift {_show(of['shift'])} standard deviations)"
        for name, of in drift.items()
        if name != "tokens"
    ]
    return lines + [
        f"{name} tokens: perplexity {_show(of['perplexity_training'])} -> {_show(of['perplexity_new'])}, "
        f"total variation {_show(of['total_variation'])}, unseen codes {_show(of['unseen'])}"
        for name, of in drift["tokens"].items()
    ]


def render_drift_page(title: str, drift: Mapping[str, Any], about: str) -> str:
    """One HTML document.

    Args:
        title: the heading.
        drift: what `as_metrics` gives.
        about: a sentence that says what was compared with what.
    """
    measures = [[name, *(of[head] for head in HEADS[1:])] for name, of in drift.items() if name != "tokens"]
    tokens = [[name, *(of[head] for head in TOKEN_HEADS[1:])] for name, of in drift["tokens"].items()]
    notes = (
        "shift: the difference in standard deviations over training episodes. total_variation: share of tokens that "
        "went to other codes. unseen: share of the new tokens that are codes which the training data never uses."
    )
    main = tag(
        "main",
        tag("header", tag("h1", title), tag("p", about, class_="note")),
        tag("section", tag("h2", "Pixels and reconstruction"), _table(HEADS, measures)),
        tag("section", tag("h2", "Tokens"), _table(TOKEN_HEADS, tokens)),
        tag("p", notes, class_="note"),
    )
    return "<!doctype html>\n" + tag("html", page_head(title, STYLE), tag("body", main), lang="en") + "\n"


def _table(heads: tuple[str, ...], rows: list[list[Any]]) -> str:
    top = tag("tr", [tag("th", head.replace("_", " ")) for head in heads])
    return tag("table", top, [tag("tr", [tag("td", _show(value)) for value in row]) for row in rows])


def _show(value: Any) -> str:
    if value is None:
        return "not known"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
