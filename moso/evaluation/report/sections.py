"""An evaluation as HTML, a function a section. Figures are those of metrics.json: the page computes none of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moso.evaluation import protocol as protocols
from moso.evaluation.comparison import BASELINES, METHODS, Comparison
from moso.evaluation.report.charts import Series, line_chart
from moso.evaluation.report.curves import Curves
from moso.evaluation.report.films import ROWS, Film, data_uri, sheet, shown_size
from moso.evaluation.report.markup import Markup, tag
from moso.evaluation.statistics import Interval

NAMES = {
    "prediction": ("Prediction", "one sample a clip"),
    "repeat_last": ("Repeat last", "the last given frame, held"),
    "hedge": ("Hedge", "0.85 \u00d7 last given frame + 0.15 \u00d7 mean training image"),
    "reconstruction": ("Reconstruction", "the true frames through Stage I: the ceiling"),
    "motion_frozen": ("Motion frozen", "reconstruction with every frame's motion tokens replaced by the first frame's"),
}
# Panels of a film in reading order: row of the sheet, caption. "given" shows the truth up to frame K, then holds it.
PANELS = (
    ("given", "Given, then held"),
    ("truth", "Truth"),
    ("prediction", "Prediction"),
    ("difference", "Difference \u00d7 2"),
    ("motion", "Motion alone"),
    ("scene", "Scene alone"),
    ("object", "Object alone"),
    ("reconstruction", "Reconstruction"),
)
COLOURS = 6  # of the style sheet


class _Show(Protocol):
    def __call__(self, value: float, sign: bool = False) -> str: ...


def decibels(value: float, sign: bool = False) -> str:
    """19.334 -> '19.33 dB'."""
    return _minus(f"{value:{'+' if sign else ''}.2f}\u00a0dB")


def fraction(value: float, sign: bool = False) -> str:
    """0.75555 -> '0.7556'."""
    return _minus(f"{value:{'+' if sign else ''}.4f}")


def _minus(text: str) -> str:
    return text.replace("-", "\u2212")


SHOW: tuple[tuple[str, str, _Show], ...] = (("psnr", "PSNR", decibels), ("ssim", "SSIM", fraction))


@dataclass(frozen=True)
class Evaluation:
    """What the page shows.

    Attributes:
        comparison: figures of every method, clip and frame.
        intervals: baseline -> metric -> the prediction's margin.
        protocol: what was measured.
        films: the clips shown.
        curves: charts of the trainings.
        usage: component -> how often each code is used, (N,).
        not_computed: metrics left out.
        provenance: name -> value, as shown.
    """

    comparison: Comparison
    intervals: Mapping[str, Mapping[str, Interval]]
    protocol: protocols.Protocol
    films: Sequence[Film]
    curves: Sequence[Curves]
    usage: Mapping[str, NDArray[np.int64]]
    not_computed: Sequence[protocols.NotComputed]
    provenance: Mapping[str, str]


def tiles(e: Evaluation) -> Markup:
    """The figures that a reader came for."""
    made = []
    for metric, name, show in SHOW:
        values, margin = e.comparison.values[metric], e.intervals["repeat_last"][metric]
        ceiling = f"ceiling (reconstruction) {show(values['reconstruction'].mean())}"
        made.append(_tile(f"{name} of the prediction", show(values["prediction"].mean()), ceiling))
        made.append(_tile(f"{name} above repeating the last frame", *_margin(margin, show, "95% interval ")))
    return tag("div", made, class_="tiles")


def clips_section(e: Evaluation) -> Markup:
    """The films, with what they show and how they were chosen."""
    alone = tag("em", "Motion, scene and object alone")
    return Markup(
        tag(
            "p",
            f"{len(e.films)} of {e.protocol.clips} clips, spread evenly by rank from the best prediction (by PSNR) to "
            "the worst: not a selection of good ones. An ochre outline marks the given frames. ",
            alone,
            " are what the decoder draws of the true clip from one component's codes, the other two being zeros.",
        )
        + tag(
            "div",
            tag("button", "Play", id="play", type="button"),
            tag("button", "Larger", id="size", type="button"),
            tag("span", "Drag a slider to step through a clip.", class_="note"),
            class_="bar",
        )
        + tag("div", [_film(film, e.protocol) for film in e.films], class_="films")
    )


def figures_section(e: Evaluation) -> Markup:
    """The table of methods, what is missing, and the curves over predicted frames."""
    c = e.comparison
    rows = []
    for method in METHODS:
        name, meaning = NAMES[method]
        cells = [tag("td", show(c.values[metric][method].mean())) for metric, _, show in SHOW]
        for metric, _, show in SHOW:
            margin = _margin(e.intervals[method][metric], show) if method in BASELINES else ("", "")
            cells.append(tag("td", margin[0], tag("small", margin[1])))
        head = tag("th", name, tag("small", meaning), scope="row")
        rows.append(tag("tr", head, cells, class_="ours" if method == "prediction" else None))
    better = [("Prediction is better by", f"{name}, 95% interval") for _, name, _ in SHOW]
    missing = [
        tag(
            "tr",
            tag("th", m.metric, scope="row"),
            tag("td", f"not computed: {m.reason}. Enable with ", tag("code", m.command), class_="text"),
        )
        for m in e.not_computed
    ]
    frames = range(c.given_frames + 1, e.protocol.clip_frames + 1)
    charts = [
        line_chart(
            f"{name} by predicted frame",
            [
                Series(
                    NAMES[m][0], frames, c.of_frames(metric, m).tolist(), i, m in ("reconstruction", "motion_frozen")
                )
                for i, m in enumerate(METHODS)
            ],
            x_label="frame of the clip",
            y_label="PSNR (dB)" if metric == "psnr" else name,
        )
        for metric, name, _ in SHOW
    ]
    note = (
        "Intervals: paired bootstrap over episodes, the clips of an episode drawn together. Freezing the motion tokens "
        "must wreck the reconstruction: what remains is what Stage I draws without motion."
    )
    return Markup(
        _table([("Method", ""), ("PSNR", ""), ("SSIM", ""), *better], rows)
        + tag("p", note, class_="note")
        + tag("div", charts, class_="charts")
        + _table([], missing)
    )


def training_section(e: Evaluation) -> Markup:
    """Curves of both trainings."""
    charts = []
    for curves in e.curves:
        series = [
            Series(column.replace("_", " "), *_thinned(steps, values), i % COLOURS, column.startswith("validation"))
            for i, (column, (steps, values)) in enumerate(curves.columns.items())
        ]
        label = f"{curves.label} (log scale)" if curves.log else curves.label
        charts.append(line_chart(curves.title, series, x_label="step", y_label=label, log_y=curves.log))
    return tag("div", charts, class_="charts")


def codebook_section(e: Evaluation) -> Markup:
    """How the one codebook is shared: codes used and perplexity by component, and how evenly."""
    rows, series = [], []
    for i, (component, counts) in enumerate(e.usage.items()):
        share = counts / max(int(counts.sum()), 1)
        used = np.sort(share[share > 0])[::-1]
        perplexity = float(np.exp(-(used * np.log(used)).sum()))
        cells = [f"{len(used):,} of {len(counts):,}", f"{perplexity:,.1f}", f"{int(counts.sum()):,}"]
        rows.append(tag("tr", tag("th", component.capitalize(), scope="row"), [tag("td", cell) for cell in cells]))
        series.append(Series(component, *_thinned(range(1, len(used) + 1), used * 100), i))
    chart = line_chart(
        "Share of each code, most used first",
        series,
        x_label="rank of the code within its component",
        y_label="% of the component's tokens",
        log_y=True,
    )
    heads = [
        ("Component", ""),
        ("Codes used", ""),
        ("Perplexity", "evenly used codes that would be as varied"),
        ("Tokens counted", ""),
    ]
    return Markup(_table(heads, rows) + tag("div", chart, class_="charts"))


def protocol_section(e: Evaluation) -> Markup:
    """Everything that the figures depend on beside the model."""
    p = e.protocol
    frames = f"K = {p.given_frames} given, T = {p.clip_frames}, {p.predicted_frames} predicted"
    rows = {
        "Data set, split": f"{p.data_set}, {p.split}",
        "Clips": f"{p.clips} from {p.episodes} episodes: {p.clip_rule}",
        "Frames": f"{p.height} \u00d7 {p.width} pixels; {frames}",
        "Given frames count": "yes" if p.given_frames_count else "no",
        "Samples a clip": f"{p.samples_per_video}, seeds derived from {p.seed} and the clip's id",
        **{f"Convention: {name}": text for name, text in p.metrics.items()},
        "Digest of the clips": p.clips_digest,
        "Digest of the protocol": p.digest,
    }
    return Markup(tag("p", "Figures of different protocols are never to be compared.") + _definitions(rows))


def provenance_section(e: Evaluation) -> Markup:
    """Where model, data and code come from."""
    return _definitions(e.provenance)


def _film(film: Film, protocol: protocols.Protocol) -> Markup:
    script = {
        "frames": protocol.clip_frames,
        "given": protocol.given_frames,
        "psnr": [round(float(v), 2) for v in film.psnr],
        "held_psnr": [round(float(v), 2) for v in film.baseline_psnr],
    }
    panels = []
    for row, caption in PANELS:
        look = ["view", "held"] if row == "given" else ["view"]
        look += ["lead"] if row in ("given", "truth", "prediction") else []
        place = ROWS.index("truth" if row == "given" else row)
        view = tag("div", class_=" ".join(look), style=f"--row:{place}", role="img", aria_label=caption)
        panels.append(tag("figure", view, tag("figcaption", caption), class_="panel"))
    (psnr, held), (ssim, held_ssim) = film.figures["psnr"], film.figures["ssim"]
    rank = f"rank {film.rank} of {protocol.clips}"
    figures = f"{rank} \u00b7 {psnr:.2f} dB (held {held:.2f}) \u00b7 SSIM {ssim:.3f} ({held_ssim:.3f})"
    start, last = protocol.given_frames, protocol.clip_frames - 1
    slider = tag("input", type="range", min=0, max=last, value=start, aria_label=f"Frame of {film.clip.id}")
    picture = data_uri(sheet(film.videos), shown_size(protocol.height, protocol.width)[0])
    return tag(
        "article",
        tag("header", tag("h3", tag("code", film.clip.id)), tag("span", figures, class_="figures")),
        tag("div", panels, class_="panels"),
        tag("div", slider, tag("output"), class_="scrub"),
        class_="film",
        data_film=json.dumps(script),
        style=f"--f:{start};--g:{start - 1};--sheet:url({picture})",
    )


def _thinned(x: Sequence[float], y: Sequence[float] | NDArray[Any], most: int = 300) -> tuple[list[float], list[float]]:
    """At most `most` points: means over runs of neighbours, which also calms a noisy curve."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    if len(xs) <= most:
        return xs.tolist(), ys.tolist()
    parts = np.array_split(np.arange(len(xs)), most)
    return [float(xs[p].mean()) for p in parts], [float(ys[p].mean()) for p in parts]


def _tile(name: str, value: object, more: str) -> Markup:
    return tag(
        "div",
        tag("div", name, class_="name"),
        tag("div", value, class_="value"),
        tag("div", more, class_="more"),
        class_="tile",
    )


def _margin(interval: Interval, show: _Show, before: str = "") -> tuple[Markup, str]:
    judged = "good" if interval.low > 0 else "bad" if interval.high < 0 else None
    ends = f"{before}{show(interval.low, sign=True)} to {show(interval.high, sign=True)}"
    return tag("span", show(interval.mean, sign=True), class_=judged), ends


def _table(heads: Sequence[tuple[str, str]], rows: Sequence[Markup]) -> Markup:
    top = (
        tag("thead", tag("tr", [tag("th", h, tag("small", small), scope="col") for h, small in heads]))
        if heads
        else None
    )
    return tag("div", tag("table", top, tag("tbody", rows)), class_="wide")


def _definitions(rows: Mapping[str, str]) -> Markup:
    return tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in rows.items()])
