"""The figures: tiles, the benchmark's table, methods side by side, Fréchet distances, curves over frames."""

from __future__ import annotations

from moso.evaluation.comparison import Comparison
from moso.evaluation.frechet_metric import FrechetFigure
from moso.evaluation.metrics import heading
from moso.evaluation.report.charts import Series, line_chart
from moso.evaluation.report.elements import margin, table, tile
from moso.evaluation.report.evaluation import Evaluation
from moso.evaluation.report.markup import Markup, tag
from moso.evaluation.report.words import (
    axis_of,
    colour_of,
    meaning_of,
    name_of,
    show,
    with_direction,
)
from moso.evaluation.statistics import caution


def tiles(e: Evaluation) -> Markup:
    """The figures that a reader came for."""
    made = [] if e.comparison is None else _tiles(e, e.comparison)
    made += [
        tile(with_direction(metric), show(metric, figure.value), _behind(metric, figure))
        for metric, figure in e.frechet.items()
    ]
    return tag("div", made, class_="tiles")


def _tiles(e: Evaluation, c: Comparison) -> list[Markup]:
    made = []
    ceiling = "reconstruction" if c.main != "reconstruction" and "reconstruction" in c.methods else None
    first = next(iter(c.baselines), "")
    for metric in c.metrics:
        values = c.values[metric]
        more = f"ceiling (reconstruction) {show(metric, values[ceiling].mean())}" if ceiling else ""
        made.append(tile(f"{with_direction(metric)} of the {c.main}", show(metric, values[c.main].mean()), more))
        if interval := e.intervals.get(first, {}).get(metric):
            difference, ends = margin(metric, interval)
            level = f"{interval.confidence:.0%} interval {ends}"
            made.append(tile(f"{heading(metric)} against {name_of(first).lower()}", difference, level))
    return made


def benchmark_section(e: Evaluation) -> Markup:
    """The paper's own layout: ours beside the published rows of the same protocol."""
    assert e.table is not None
    return Markup(e.table.html)


def figures_section(e: Evaluation) -> Markup:
    """The methods side by side, Fréchet distances, what is missing, and the curves over frames."""
    parts = [_of_methods(e, e.comparison)] if e.comparison is not None else []
    if e.frechet:
        parts.append(_frechet(e))
    if e.not_computed:
        parts.append(_missing(e))
    if e.comparison is not None:
        parts.append(_curves(e, e.comparison))
    return Markup("".join(parts))


def _of_methods(e: Evaluation, c: Comparison) -> Markup:
    rows = []
    for method in c.methods:
        cells = [
            tag("td", show(metric, c.values[metric][method].mean()), _difference(e, method, metric))
            for metric in c.metrics
        ]
        head = tag("th", name_of(method), tag("small", meaning_of(method, e.protocol)), scope="row")
        rows.append(tag("tr", head, cells, class_="ours" if method == c.main else None))
    confidence = next((i.confidence for of in e.intervals.values() for i in of.values()), 0.95)
    notes = []
    if c.baselines:
        notes.append(
            f"Below a baseline's figure: {name_of(c.main).lower()} \u2212 baseline and its {confidence:.0%} interval, "
            "by paired bootstrap over episodes, the clips of an episode drawn together. Detectable: the smallest true "
            "difference that such a set of clips would show in four of five draws (80% power)."
        )
    if "motion_frozen" in c.methods:
        notes.append(
            "Freezing the motion tokens must wreck the reconstruction: what remains is what Stage I draws without "
            "motion."
        )
    if few := caution(len(set(c.episodes))):
        notes.append(f"{few}.")
    heads = [("Method", ""), *[(with_direction(metric), "") for metric in c.metrics]]
    return Markup(table(heads, rows) + tag("p", " ".join(notes), class_="note"))


def _difference(e: Evaluation, method: str, metric: str) -> Markup:
    interval = e.intervals.get(method, {}).get(metric)
    if interval is None:
        return Markup("")
    difference, ends = margin(metric, interval)
    least = f"detectable: {show(metric, interval.detectable())}"
    return Markup(tag("small", difference, f" ({ends})") + tag("small", least))


def _frechet(e: Evaluation) -> Markup:
    rows = []
    for metric, figure in e.frechet.items():
        unit = _unit(metric)
        end = show(metric, figure.extrapolated) if figure.extrapolated is not None else "\u2013"
        reason = f"no value at infinitely many {unit}: {figure.reason}" if figure.extrapolated is None else ""
        left = f"{figure.left_out:,} clips behind the last full batch are left out" if figure.left_out else ""
        cells = [show(metric, figure.value), end, f"{figure.drawn:,} {unit}", f"{figure.reference:,} {unit}"]
        remark = tag("td", "; ".join(part for part in (reason, left) if part), class_="text")
        head = tag("th", with_direction(metric), scope="row")
        rows.append(tag("tr", head, [tag("td", cell) for cell in cells], remark))
    heads = [("Fréchet distance", ""), ("Value", ""), ("Extrapolated", "to infinitely many"), ("Drawn", ""),
             ("True", ""), ("", "")]  # fmt: skip
    note = "Few samples make a Fréchet distance too large: figures of unequal numbers are never to be compared."
    return Markup(table(heads, rows) + tag("p", note, class_="note"))


def _missing(e: Evaluation) -> Markup:
    rows = []
    for m in e.not_computed:
        remedy = [". Enable with ", tag("code", m.command)] if m.command else []
        why = tag("td", f"not computed: {m.reason.rstrip('.')}", *remedy, class_="text")
        rows.append(tag("tr", tag("th", heading(m.metric), scope="row"), why))
    return table([], rows)


def _curves(e: Evaluation, c: Comparison) -> Markup:
    charts = [
        line_chart(
            f"{heading(metric)} by frame of the clip",
            [_series(e, c, metric, method) for method in c.methods],
            x_label="frame of the clip",
            y_label=axis_of(metric),
        )
        for metric in c.metrics
    ]
    note = "Shaded: the bootstrap interval of the mean at each frame, whole episodes drawn." if e.bands else ""
    return Markup(tag("div", charts, class_="charts") + (tag("p", note, class_="note") if note else ""))


def _series(e: Evaluation, c: Comparison, metric: str, method: str) -> Series:
    low, high = e.bands.get(metric, {}).get(method, (None, None))
    bound = method != c.main and method in ("reconstruction", "motion_frozen")
    return Series(
        name_of(method),
        list(c.frames),
        c.of_frames(metric, method).tolist(),
        colour_of(method),
        dashed=bound,
        low=None if low is None else low.tolist(),
        high=None if high is None else high.tolist(),
    )


def _unit(metric: str) -> str:
    return "frames" if metric == "fid" else "videos"


def _behind(metric: str, figure: FrechetFigure) -> str:
    """The numbers that a distance rests on."""
    told = f"{figure.drawn:,} drawn, {figure.reference:,} true {_unit(metric)}"
    end = "" if figure.extrapolated is None else f"; extrapolated {show(metric, figure.extrapolated)}"
    return told + end
