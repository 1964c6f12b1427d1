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
from moso.evaluation.report.films import ROLLOUT_ROWS, ROWS, Film, data_uri, difference, sheet, shown_size
from moso.evaluation.report.markup import Markup, tag
from moso.evaluation.rollout import Rollout
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
ROLLOUT_PANELS = PANELS[:4]
CARRIED = {
    "tokens": "its scene and object tokens and the motion tokens of its last frames",
    "frames": "its last frames, decoded and encoded again",
}
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
        rollout: the long prediction; None where none was asked for.
    """

    comparison: Comparison
    intervals: Mapping[str, Mapping[str, Interval]]
    protocol: protocols.Protocol
    films: Sequence[Film]
    curves: Sequence[Curves]
    usage: Mapping[str, NDArray[np.int64]]
    not_computed: Sequence[protocols.NotComputed]
    provenance: Mapping[str, str]
    rollout: Rollout | None = None


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
            " are what the decoder draws of the true clip from one component's codes, the other two being zeros; "
            "it never saw such partial codes in training, so their colours mean nothing.",
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


def rollout_section(e: Evaluation) -> Markup:
    """Prediction beyond a clip: quality by frame, and whether the joints between clips show."""
    r = e.rollout
    assert r is not None
    figures, length = r.summary(), r.config.frames
    ends = ", ".join(str(r.given_frames + i + 1) for i in r.joints)
    ours, truth = figures["prediction"], figures["truth"]
    unfaded = ""
    if "unfaded" in figures:
        unfaded = f", {figures['unfaded']['joint_ratio']:.2f} where joints are left as they are"
    note = (
        f"{length} frames from {r.given_frames}, clip after clip, on {len(r.clips)} {e.protocol.split} episodes; what "
        f"a clip passes on: {CARRIED[r.config.carry]}; a joint is {'' if r.config.fade else 'not '}"
        f"faded over two frames. A clip ends with frame {ends}. Mean change from one predicted frame to the next, in "
        f"grey levels: {ours['change_at_joints']:.2f} across these joints, {ours['change_elsewhere']:.2f} elsewhere, "
        f"a ratio of {ours['joint_ratio']:.2f}{unfaded}; the truth's is {truth['joint_ratio']:.2f}. "
        "A ratio well above the truth's would be a jump that shows."
    )
    frames = range(r.given_frames + 1, r.given_frames + length + 1)
    charts = [
        line_chart(
            f"{name} by predicted frame, long prediction",
            [
                Series(NAMES[m][0], frames, of[m].mean(axis=0).tolist(), METHODS.index(m))
                for of in (r.values[metric],)
                for m in of
            ],
            x_label="frame",
            y_label="PSNR (dB)" if metric == "psnr" else name,
        )
        for metric, name, _ in SHOW
    ]
    changes = [
        Series(name, frames[1:], r.changes[of].mean(axis=0).tolist(), i, of == "truth")
        for i, (of, name) in enumerate(
            (("prediction", "Prediction"), ("truth", "Truth"), ("unfaded", "Prediction, joints as they are"))
        )
        if of in r.changes
    ]
    at = [frames[i + 1] for i in r.joints]
    marks = Series("Prediction, across a joint", at, [r.changes["prediction"][:, i].mean() for i in r.joints], 5, True)
    charts.append(
        line_chart(
            "Change from the frame before", [*changes, marks], x_label="frame", y_label="mean difference (grey levels)"
        )
    )
    films = [
        _moving(
            clip.id,
            f"{r.values['psnr']['prediction'][i].mean():.2f} dB (held {r.values['psnr']['repeat_last'][i].mean():.2f})",
            {**videos, "difference": difference(videos["truth"], videos["prediction"])},
            ROLLOUT_ROWS,
            ROLLOUT_PANELS,
            r.given_frames,
            r.values["psnr"]["prediction"][i].tolist(),
            r.values["psnr"]["repeat_last"][i].tolist(),
        )
        for i, (clip, videos) in enumerate(zip(r.clips, r.shown, strict=False))
    ]
    return Markup(tag("p", note) + tag("div", films, class_="films") + tag("div", charts, class_="charts"))


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
        **({"Splits made": protocols.splits_in_words(p.splits)} if p.splits else {}),
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
    (psnr, held), (ssim, held_ssim) = film.figures["psnr"], film.figures["ssim"]
    rank = f"rank {film.rank} of {protocol.clips}"
    figures = f"{rank} \u00b7 {psnr:.2f} dB (held {held:.2f}) \u00b7 SSIM {ssim:.3f} ({held_ssim:.3f})"
    rows = [row for row in ROWS if row in film.videos]
    panels = [(row, caption) for row, caption in PANELS if row in (*rows, "given")]
    return _moving(
        film.clip.id, figures, film.videos, rows, panels, protocol.given_frames, film.psnr, film.baseline_psnr
    )


def _moving(
    clip: str,
    figures: str,
    videos: dict[str, np.ndarray],
    rows: Sequence[str],
    panels: Sequence[tuple[str, str]],
    given: int,
    psnr: Sequence[float],
    held_psnr: Sequence[float],
) -> Markup:
    """A card of panels (row of the sheet, caption) that the page's script steps through, frame by frame."""
    frames, height, width, _ = videos["truth"].shape
    script = {
        "frames": frames,
        "given": given,
        "psnr": [round(float(v), 2) for v in psnr],
        "held_psnr": [round(float(v), 2) for v in held_psnr],
    }
    shown = []
    for row, caption in panels:
        look = ["view", "held"] if row == "given" else ["view"]
        look += ["lead"] if row in ("given", "truth", "prediction") else []
        place = rows.index("truth" if row == "given" else row)
        view = tag("div", class_=" ".join(look), style=f"--row:{place}", role="img", aria_label=caption)
        shown.append(tag("figure", view, tag("figcaption", caption), class_="panel"))
    slider = tag("input", type="range", min=0, max=frames - 1, value=given, aria_label=f"Frame of {clip}")
    picture = data_uri(sheet(videos, rows), shown_size(height, width)[0])
    return tag(
        "article",
        tag("header", tag("h3", tag("code", clip)), tag("span", figures, class_="figures")),
        tag("div", shown, class_="panels"),
        tag("div", slider, tag("output"), class_="scrub"),
        class_="film",
        data_film=json.dumps(script),
        style=f"--frames:{frames};--rows:{len(rows)};--f:{given};--g:{given - 1};--sheet:url({picture})",
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
