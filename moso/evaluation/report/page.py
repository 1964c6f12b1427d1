"""The whole page, readable from a file system, on a narrow window, in light and dark, and without a script."""

from __future__ import annotations

from collections.abc import Callable

from moso.evaluation.report.assets import SCRIPT, STYLE
from moso.evaluation.report.clips import clips_section, recombinations_section
from moso.evaluation.report.evaluation import Evaluation
from moso.evaluation.report.figures import benchmark_section, figures_section, tiles
from moso.evaluation.report.films import shown_size
from moso.evaluation.report.lineage import environment_section, lineage_section, protocol_section
from moso.evaluation.report.long_prediction import rollout_section
from moso.evaluation.report.markup import Markup, page_head, tag
from moso.evaluation.report.training import codebook_section, training_section
from moso.evaluation.report.words import samples_in_words

# Name, section, whether an evaluation has it. A later plot is one more line here.
SECTIONS: tuple[tuple[str, Callable[[Evaluation], Markup], Callable[[Evaluation], object]], ...] = (
    ("Benchmark", benchmark_section, lambda e: e.table is not None),
    ("Clips", clips_section, lambda e: e.films),
    ("Figures", figures_section, lambda e: e.comparison is not None or e.frechet or e.not_computed),
    ("Recombinations", recombinations_section, lambda e: e.recombinations),
    ("Rollout", rollout_section, lambda e: e.rollout is not None),
    ("Training", training_section, lambda e: e.curves),
    ("Codebook", codebook_section, lambda e: e.usage),
    ("Protocol", protocol_section, lambda e: True),
    ("Environment", environment_section, lambda e: e.environment),
    ("Lineage", lineage_section, lambda e: True),
)


def render_page(evaluation: Evaluation) -> str:
    """One HTML document with style, script and pictures inside; it asks for nothing from outside."""
    title = f"MOSO on {evaluation.protocol.data_set}"
    sections = [(name, section) for name, section, there in SECTIONS if there(evaluation)]
    links = [tag("a", name, href=f"#{name.lower()}") for name, _ in sections]
    body = [tag("section", tag("h2", name), section(evaluation), id=name.lower()) for name, section in sections]
    head = page_head(title, STYLE + _sizes(evaluation))
    what = tag("p", _what(evaluation), class_="note")
    top = tag("header", tag("h1", title), what, tag("nav", links), tiles(evaluation))
    page = tag("body", tag("main", top, body), tag("script", Markup(SCRIPT)))
    return "<!doctype html>\n" + tag("html", head, page, lang="en") + "\n"


def _what(evaluation: Evaluation) -> str:
    """What was measured, in one sentence."""
    p = evaluation.protocol
    where = f"{p.clips:,} {p.split} clips of {p.episodes:,} episodes"
    if p.task == "unconditional":
        count = f"{p.videos_drawn:,} videos" if p.videos_drawn else "Videos"
        return f"{count} of {p.predicted_frames} frames drawn from nothing, against {where}."
    if p.task == "reconstruction":
        return f"{p.predicted_frames} frames encoded and decoded again, on {where}."
    if p.task == "interpolation":
        return f"{p.predicted_frames} frames filled in between {p.given_frames}, on {where}, {samples_in_words(p)}."
    return f"{p.predicted_frames} frames predicted from {p.given_frames}, on {where}, {samples_in_words(p)}."


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
