"""The whole page, readable from a file system, on a narrow window, in light and dark, and without a script."""

from __future__ import annotations

from moso.evaluation.report.assets import SCRIPT, STYLE
from moso.evaluation.report.films import shown_size
from moso.evaluation.report.markup import Markup, tag
from moso.evaluation.report.sections import (
    Evaluation,
    clips_section,
    codebook_section,
    figures_section,
    protocol_section,
    provenance_section,
    rollout_section,
    tiles,
    training_section,
)

# A later metric or plot is one more function here or in sections.
SECTIONS = (
    ("Clips", clips_section),
    ("Figures", figures_section),
    ("Rollout", rollout_section),
    ("Training", training_section),
    ("Codebook", codebook_section),
    ("Protocol", protocol_section),
    ("Provenance", provenance_section),
)


def render_page(evaluation: Evaluation) -> str:
    """One HTML document with style, script and pictures inside; it asks for nothing from outside."""
    p = evaluation.protocol
    title = f"MOSO on {p.data_set}"
    what = (
        f"{p.predicted_frames} frames predicted from {p.given_frames}, on {p.clips} {p.split} clips "
        f"of {p.episodes} episodes, {p.samples_per_video} sample a clip."
    )
    sections = [(n, s) for n, s in SECTIONS if s is not rollout_section or evaluation.rollout is not None]
    links = [tag("a", name, href=f"#{name.lower()}") for name, _ in sections]
    body = [tag("section", tag("h2", name), section(evaluation), id=name.lower()) for name, section in sections]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(STYLE + _sizes(evaluation))),
    )
    top = tag("header", tag("h1", title), tag("p", what, class_="note"), tag("nav", links), tiles(evaluation))
    page = tag("body", tag("main", top, body), tag("script", Markup(SCRIPT)))
    return "<!doctype html>\n" + tag("html", head, page, lang="en") + "\n"


def _sizes(evaluation: Evaluation) -> str:
    """Whole multiples of a frame's size, so that pixels stay square and even."""
    p = evaluation.protocol
    _, height, width = shown_size(p.height, p.width)
    small = max(1, round(128 / width))
    large = small + max(1, small // 2)
    return (
        f".films {{ --w: {small * width}px; --h: {small * height}px; }}\n"
        f".films.large {{ --w: {large * width}px; --h: {large * height}px; }}\n"
    )
