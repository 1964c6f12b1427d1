"""The data report as one self-contained HTML page: readable from a file system, in a narrow window, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moso.evaluation.data_report.bars import STYLE as BAR_STYLE
from moso.evaluation.data_report.bars import histogram_chart
from moso.evaluation.data_report.strips import Strip
from moso.evaluation.report.assets import STYLE
from moso.evaluation.report.charts import Series, line_chart, number
from moso.evaluation.report.films import data_uri, shown_size
from moso.evaluation.report.markup import Markup, join, page_head, tag

PAGE_STYLE = """
.strip { margin: 0 0 1rem; } .strip figcaption { font-size: 0.85rem; color: var(--soft); }
.strip .scroll { overflow-x: auto; } .strip img { display: block; image-rendering: pixelated; }
.wide table { min-width: 36rem; } section h3 { margin: 1.25rem 0 0.25rem; }
td.ok { color: var(--good); } td.not { color: var(--bad); font-weight: 600; }
"""
Report = Mapping[str, Any]
Strips = Mapping[str, Sequence[Strip]]
_UNKNOWN = "not known"
SHOWN_PIXELS = 96
"""Width of a frame of a strip on the page, about."""


def render_data_page(report: Report, strips: Strips) -> str:
    """One HTML document with style and pictures inside; it asks for nothing from outside and has no script.

    Args:
        report: moso.evaluation.data_report.data_figures.
        strips: split -> the strips shown (moso.evaluation.data_report.strips).
    """
    data = report["data"]
    sections: tuple[tuple[str, Callable[[Report], Markup]], ...] = (
        ("Checks", _checks),
        ("Counts", _counts),
        ("Samples", lambda r: _samples(r, strips)),
        ("Looks", _looks),
        ("Thresholds", _thresholds),
        ("Signals", _signals),
        ("Duplicates", _duplicates),
        ("Quarantine", _quarantine),
        ("Provenance", _provenance),
    )
    title = f"Data: {data['data_set']}"
    episodes = sum(s["episodes"] for s in report["splits"].values())
    what = f"{data.get('title') or data['data_set']}: {episodes:,} episodes at {data['height']} \u00d7 {data['width']}."
    head = page_head(title, STYLE + BAR_STYLE + PAGE_STYLE)
    links = [tag("a", name, href=f"#{name.lower()}") for name, _ in sections]
    top = tag("header", tag("h1", title), tag("p", what, class_="note"), tag("nav", links), _tiles(report))
    body = [tag("section", tag("h2", name), section(report), id=name.lower()) for name, section in sections]
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", top, body)), lang="en") + "\n"


def _tiles(report: Report) -> Markup:
    splits = report["splits"]
    failed = [c for c in report["checks"] if not c["ok"]]
    shares = [f"{name} {s['episodes']:,}" for name, s in splits.items()]
    tiles = (
        ("Episodes", f"{sum(s['episodes'] for s in splits.values()):,}", ", ".join(shares)),
        ("Frames", f"{sum(s['frames'] for s in splits.values()):,}", _hours(splits.values())),
        ("Set aside", f"{report['quarantine']['records']:,}", f"{report['quarantine']['share']:.2%} of all records"),
        (
            "Checks",
            f"{len(report['checks']) - len(failed)} of {len(report['checks'])} pass",
            ", ".join(c["id"] for c in failed) or "nothing stands out",
        ),
    )
    return tag(
        "div",
        [
            tag(
                "div",
                tag("div", name, class_="name"),
                tag("div", value, class_="value"),
                tag("div", more, class_="more"),
                class_="tile",
            )
            for name, value, more in tiles
        ],
        class_="tiles",
    )


def _checks(report: Report) -> Markup:
    rows = [
        [
            tag("th", tag("code", c["id"]), tag("small", c["text"]), scope="row"),
            tag("td", "passes" if c["ok"] else "look here", class_="ok" if c["ok"] else "not"),
            tag("td", _plain(c["found"])),
            tag("td", _limit(c["limit"])),
        ]
        for c in report["checks"]
    ]
    note = "The limits are this project's own, without a source; gates read the same rows from report.json."
    return Markup(_table(["Check", "", "Found", "Tolerated"], rows) + tag("p", note, class_="note"))


def _counts(report: Report) -> Markup:
    rows = []
    for name, s in report["splits"].items():
        lengths = s["episode_frames"]
        rows.append(
            [
                tag("th", name, scope="row"),
                tag("td", f"{s['episodes']:,}", tag("small", f"of {s['recordings']:,} recordings")),
                tag("td", f"{s['frames']:,}"),
                tag("td", _duration(s["duration_s"])),
                tag("td", f"{number(lengths['median'])}", tag("small", f"{lengths['min']:,} to {lengths['max']:,}")),
                tag("td", _listed([f"{z['height']} \u00d7 {z['width']} ({z['episodes']:,})" for z in s["raw_sizes"]])),
                tag("td", _listed([f"{z['fps']:g} ({z['episodes']:,})" for z in s["raw_fps"]])),
            ]
        )
    heads = ["Split", "Episodes", "Frames", "Duration", "Frames an episode", "Raw sizes (episodes)", "Raw fps"]
    histograms = {name: s["episode_frames"]["histogram"] for name, s in report["splits"].items()}
    chart = _histogram("Length of episodes", histograms, "frames", "% of episodes")
    return Markup(_table(heads, rows) + tag("div", chart, class_="charts"))


def _samples(report: Report, strips: Strips) -> Markup:
    data = report["data"]
    scale, _, across = shown_size(data["height"], data["width"])
    enlarged = max(1, round(SHOWN_PIXELS / across))  # a whole number of times: pixels stay square and even
    parts: list[Markup] = [
        tag(
            "p",
            "Frames of clips at even distances through each split; below them, on grey, what goes to object with the "
            f"thresholds {report['thresholds']['low']:g} and {report['thresholds']['high']:g}.",
        )
    ]
    for split, shown in strips.items():
        parts.append(tag("h3", split))
        for strip in shown:
            text = f"{strip.episode_id}, frames {', '.join(map(str, strip.shown))}"
            width = round(strip.picture.shape[1] * scale) * enlarged
            image = Markup(f'<img alt="{_escaped(text)}" width="{width}" src="{data_uri(strip.picture, scale)}"/>')
            parts.append(
                tag("figure", tag("figcaption", text), tag("div", image, class_="scroll", tabindex=0), class_="strip")
            )
    return join(parts)


def _looks(report: Report) -> Markup:
    splits = report["splits"]
    rows = [
        [
            tag("th", name, scope="row"),
            tag("td", _number(s["brightness"]["mean"])),
            tag("td", _number(s["brightness"]["std"])),
            tag("td", _number(s["motion"]["mean"])),
            tag("td", _percent(s["motion"]["still_share"])),
            tag("td", f"{s['sampled_clips']:,}"),
        ]
        for name, s in splits.items()
    ]
    heads = [
        "Split",
        "Mean brightness",
        "Its std over pixels",
        "Mean motion",
        "Frames equal to the last",
        "Clips looked at",
    ]
    charts = [
        _histogram(
            "Brightness of a frame",
            {n: s["brightness"]["histogram"] for n, s in splits.items()},
            "mean grey level, 0 to 255",
            "% of frames",
        ),
        _histogram(
            "Motion from one frame to the next",
            {n: s["motion"]["histogram"] for n, s in splits.items()},
            "mean difference in grey levels (bins double)",
            "% of frames",
        ),
    ]
    note = (
        "Brightness and motion are in grey levels. Means are over every frame; histograms and still frames over the "
        f"clips looked at, {report['sample']['clip_frames']} frames each."
    )
    return Markup(_table(heads, rows) + tag("p", note, class_="note") + tag("div", charts, class_="charts"))


def _thresholds(report: Report) -> Markup:
    thresholds = report["thresholds"]
    parts: list[Markup] = [
        tag(
            "p",
            "Algorithm 1 of the paper: a pixel whose largest channel changes by at least c_l and at most c_h from the "
            "frame before is object, every other is scene. The paper's values are 0.1 and 0.9. A data set whose "
            "objects are hardly there at 0.1 needs a lower c_l (train_vqvae.objective.preprocessing).",
        )
    ]
    charts = []
    for split, effect in thresholds["splits"].items():
        highs = sorted({row["high"] for row in effect})
        lows = sorted({row["low"] for row in effect})
        share = {(row["low"], row["high"]): row["object"] for row in effect}
        rows = [
            [
                tag("th", f"c_l = {low:g}", scope="row"),
                *(tag("td", _percent(share[low, high])) for high in highs),
            ]
            for low in lows
        ]
        parts += [
            tag("h3", f"{split}: share of pixels that go to object"),
            _table(["", *(f"c_h = {h:g}" for h in highs)], rows),
        ]
        charts.append(
            line_chart(
                f"Object share by c_l, {split}",
                [Series(f"c_h = {h:g}", lows, [100 * share[low, h] for low in lows], i) for i, h in enumerate(highs)],
                x_label="c_l",
                y_label="% of pixels",
            )
        )
    return Markup(join(parts) + tag("div", charts, class_="charts"))


def _signals(report: Report) -> Markup:
    parts: list[Markup] = []
    for name in ("actions", "states"):
        of = {split: figures[name] for split, figures in report["splits"].items() if name in figures}
        first = next(iter(of.values()), None)
        rows = [
            [
                tag("th", dimension, tag("small", unit or "unit not known"), scope="row"),
                tag("td", split),
                *(tag("td", _number(signal[key][i])) for key in ("mean", "std", "min", "max")),
            ]
            for i, (dimension, unit) in enumerate(zip(first["names"], first["units"], strict=True) if first else ())
            for split, signal in of.items()
        ]
        if first:
            meaning = f"{first['meaning']}, {first['space'].replace('_', ' ')}"
            parts += [
                tag("h3", f"{name.capitalize()} ({meaning})"),
                _table(["Dimension", "Split", "Mean", "Std", "Min", "Max"], rows),
            ]
    return join(parts) if parts else tag("p", "No actions or states beside the frames.")


def _duplicates(report: Report) -> Markup:
    found, leaks = report["duplicates"], report["leaks"]
    text = (
        f"Episodes that repeat the frames of another one: {found['episodes']:,}, in {found['groups']:,} groups. In two "
        f"splits at once: {leaks['episode_ids']} ids, {leaks['recordings']} recordings, {leaks['frames']} videos."
    )
    rows = [[tag("td", ", ".join(map(str, group)), class_="text")] for group in found["shown"]]
    return Markup(tag("p", text) + (_table(["Episodes with the same frames"], rows) if rows else Markup("")))


def _quarantine(report: Report) -> Markup:
    found = report["quarantine"]
    if not found["records"]:
        return tag("p", "Every record could be read.")
    reasons = [[tag("td", r["reason"], class_="text"), tag("td", f"{r['records']:,}")] for r in found["reasons"]]
    shown = [
        [tag("td", r["file"], class_="text"), tag("td", f"{r['offset']:,}"), tag("td", r["reason"], class_="text")]
        for r in found["shown"]
    ]
    first = "" if found["records"] == len(shown) else f"The first {len(shown)} of {found['records']:,}; "
    return Markup(
        tag("p", f"Set aside and not trained on: {found['records']:,} records ({found['share']:.2%}).")
        + _table(["Reason", "Records"], reasons)
        + tag("p", f"{first}all are in quarantine.parquet.", class_="note")
        + _table(["File", "Offset", "Reason"], shown)
    )


def _provenance(report: Report) -> Markup:
    data = report["data"]
    splits = data.get("splits") or {}
    rows = {
        "Data set": data["data_set"],
        "Licence": data.get("licence") or _UNKNOWN,
        "Splits": ", ".join(f"{k} = {_plain(v)}" for k, v in splits.items()) or _UNKNOWN,
        "Crop, resize": f"{data.get('crop', _UNKNOWN)}, {data.get('resize', _UNKNOWN)}",
        "Frames": f"{data['height']} \u00d7 {data['width']} pixels, {data['fps']:g} fps",
        "Manifest version": data["manifest_version"],
        "Digest of the frames folder": data["frames_digest"] or "none: the step preprocess did not finish it",
    }
    return tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in rows.items()])


def _histogram(title: str, of: Mapping[str, Mapping[str, Any]], x_label: str, y_label: str) -> Markup:
    edges = next((h["edges"] for h in of.values()), [0, 1])
    return histogram_chart(title, edges, {n: h["counts"] for n, h in of.items()}, x_label=x_label, y_label=y_label)


def _table(heads: Sequence[str], rows: Sequence[Sequence[Markup]]) -> Markup:
    top = tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads]))
    return tag(
        "div", tag("table", top, tag("tbody", [tag("tr", list(row)) for row in rows])), class_="wide", tabindex=0
    )


def _hours(splits: Any) -> str:
    return _duration(sum(s["duration_s"] for s in splits))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _listed(items: Sequence[str], most: int = 4) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _number(value: float | None) -> str:
    return "\u2013" if value is None else number(value).replace("-", "\u2212")


def _percent(value: float | None) -> str:
    return "\u2013" if value is None else f"{100 * value:.3g} %"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _limit(value: Any) -> str:
    if isinstance(value, list) and len(value) == 2:
        return f"{value[0]:g} to {value[1]:g}"
    return _plain(value) if isinstance(value, (bool, list)) else f"at most {value:g}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
