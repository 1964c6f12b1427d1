"""One page over several reports: a row a run, and any two of them side by side.

The page is one file that asks for nothing: the runs' figures, per-frame curves and protocols lie in it as data, and its
script (index_script.py) lays two of them beside each other. Two runs of different protocols are never compared: the
page says in which fields they differ.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from moso.config import flat
from moso.errors import DataError
from moso.evaluation.index_script import SCRIPT, STYLE
from moso.evaluation.metrics import heading
from moso.evaluation.report.assets import STYLE as REPORT_STYLE
from moso.evaluation.report.markup import Markup, page_head, tag
from moso.provenance import read_provenance

FORMAT, VERSION = "moso.report", 1
# Task of a protocol -> the method of metrics.json that is the model's own; of an older report: prediction.
MAIN = {"interpolation": "interpolation", "reconstruction": "reconstruction", "unconditional": "generation"}
BASELINES = ("repeat_last", "hold")
"""That a chart shows beside the two runs: the first that a run has."""
# Decimals and unit of a figure; another metric is shown with four decimals.
UNITS = {"psnr": (2, "dB"), "ssim": (4, ""), "fvd": (1, ""), "fid": (2, "")}
EXTRAPOLATED = "_extrapolated"


@dataclass(frozen=True)
class Run:
    """What the index knows of one report.

    Attributes:
        name: of the run, unique on the page: its folder's, as far up as it takes.
        folder: where the report lies.
        provenance: content of provenance.json.
        metrics: content of metrics.json.
        curves: metric -> method -> [[predicted frame, value], …], of per_frame.csv.
    """

    name: str
    folder: Path
    provenance: Mapping[str, Any]
    metrics: Mapping[str, Any]
    curves: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """method -> metric -> mean over clips: PSNR in dB, SSIM and LPIPS as fractions."""
        return {
            method: {metric: float(value) for metric, value in values.items()}
            for method, values in self.metrics.items()
            if isinstance(values, Mapping) and values and all(_is_number(v) for v in values.values())
        }

    @property
    def main(self) -> str:
        """The method that is the model's own."""
        return MAIN.get(str(self.metrics["protocol"].get("task")), "prediction")

    @property
    def baseline(self) -> str:
        """The method that its curves are shown beside; "" where there is none."""
        return next((name for name in BASELINES if name in self.figures), "")

    @property
    def protocol_digest(self) -> str:
        """sha256 of the protocol: runs are comparable where it is equal."""
        return str(self.metrics["protocol_digest"])


def read_run(folder: Path, name: str) -> Run:
    """A report's figures.

    Raises:
        FormatError: no finished report of this version.
        DataError: a file of it is missing or is no table of figures, or a figure is no finite number.
    """
    provenance = read_provenance(folder, format=FORMAT, version=VERSION)
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
        wanted = metrics["protocol_digest"], metrics["protocol"]
        # Of what is drawn from nothing there are no figures of single frames.
        curves = {} if wanted[1].get("task") == "unconditional" else _read_curves(folder / "per_frame.csv")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: no whole report ({error!r}); rerun the step evaluate") from None
    run = Run(name, folder, provenance, metrics, curves)
    _require_finite(run)
    return run


def _read_curves(path: Path) -> dict[str, dict[str, list[list[float]]]]:
    import pandas as pd

    table = pd.read_csv(path)
    first = ("frame", "method")
    names = [str(c) for c in table.columns if c not in first and not str(c).endswith(("_low", "_high"))]
    return {
        metric: {
            str(method): [[float(x), float(y)] for x, y in zip(rows["frame"], rows[metric], strict=True) if y == y]
            for method, rows in table.groupby("method", sort=False)
        }
        for metric in names
    }


def _require_finite(run: Run) -> None:
    """Refuse what a page of JSON cannot hold, by the figure's name: an average over it would say nothing either."""
    for method, values in run.figures.items():
        for metric, value in values.items():
            if not math.isfinite(value):
                raise DataError(f"{run.folder / 'metrics.json'}: {method}.{metric} is {value}, no finite number")
    for metric, of_method in run.curves.items():
        for method, points in of_method.items():
            for frame, value in points:
                if not (math.isfinite(frame) and math.isfinite(value)):
                    where = f"{metric} of {method} at frame {frame:g}"
                    raise DataError(f"{run.folder / 'per_frame.csv'}: {where} is {value}, no finite number")


def read_runs(folders: Sequence[Path], skipped: Callable[[str], None] | None = None) -> list[Run]:
    """The reports at or below the folders, each once, with names that tell them apart.

    Args:
        folders: to look into.
        skipped: is told, in a line each, of folders without a report at or below them.

    Raises:
        DataError: no folder has a report, or a report is not whole.
    """
    found: list[Path] = []
    empty: list[Path] = []
    for folder in folders:
        here = [folder] if _is_report(folder) else sorted(p.parent for p in folder.rglob("metrics.json"))
        here = [path for path in here if _is_report(path)]
        if not here:
            empty.append(folder)
        found += [path.resolve() for path in here]
    if not found:
        names = ", ".join(str(folder) for folder in empty)
        raise DataError(f"{names}: no report there or below (a folder with metrics.json and provenance.json)")
    if skipped:
        for folder in empty:
            skipped(f"{folder}: no report there or below; left out")
    found = list(dict.fromkeys(found))
    return [read_run(path, name) for path, name in zip(found, _names(found), strict=True)]


def render_index(runs: Sequence[Run], beside: Path) -> str:
    """The page as HTML.

    Args:
        runs: one or more.
        beside: the folder that the page will lie in; links to the reports are relative to it.

    Raises:
        DataError: no run.
    """
    if not runs:
        raise DataError("an index needs at least one report")
    metrics = list(dict.fromkeys(metric for run in runs for metric in run.figures.get(run.main, {})))
    title = "MOSO runs"
    head = page_head(title, REPORT_STYLE + STYLE)
    protocols = len({run.protocol_digest for run in runs})
    what = (
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} under {protocols} "
        f"{'protocol' if protocols == 1 else 'protocols'}. Figures are comparable under one protocol only."
    )
    body = tag(
        "body",
        tag(
            "main",
            tag("header", tag("h1", title), tag("p", what, class_="note")),
            tag("section", tag("h2", "Runs"), _tables(runs, beside), id="runs"),
            tag("section", tag("h2", "Compare"), _chooser(runs), id="compare"),
        ),
        tag("script", Markup(_data(runs, metrics)), type="application/json", id="data"),
        tag("script", Markup(SCRIPT)),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _tables(runs: Sequence[Run], beside: Path) -> Markup:
    """A table a protocol, under its words: figures of two protocols stand in no common column."""
    by_protocol: dict[str, list[Run]] = {}
    for run in runs:
        by_protocol.setdefault(run.protocol_digest, []).append(run)
    parts = []
    for some in by_protocol.values():
        metrics = list(dict.fromkeys(metric for run in some for metric in run.figures.get(run.main, {})))
        parts.append(tag("h3", _words(some[0].metrics)) + _table(some, metrics, beside))
    return Markup("".join(parts))


def _words(metrics: Mapping[str, Any]) -> str:
    """A protocol in a line: its name, and what sets it apart from others of the same task."""
    p = metrics["protocol"]
    name = metrics.get("protocol_name", "")
    done = f"{p.get('given_frames')} \u2192 {p.get('predicted_frames')} frames"
    size = f"{p.get('height')} \u00d7 {p.get('width')}"
    samples = p.get("samples_per_video", 1)
    many = f"{samples} samples a clip" if samples != 1 else ""
    words = [name, p.get("task", "prediction"), done, size, str(p.get("split", "")), many]
    return ", ".join(str(word) for word in words if word)


def _table(runs: Sequence[Run], metrics: Sequence[str], beside: Path) -> Markup:
    heads = ["run", "data set", *[_name(m) for m in metrics], "clips", "protocol", "model", "commit"]
    rows = []
    for run in runs:
        protocol = run.metrics["protocol"]
        page = os.path.relpath(run.folder / "index.html", beside.resolve())
        figures = run.figures.get(run.main, {})
        missing = {str(m.get("metric", "")).lower() for m in run.metrics.get("not_computed", [])}
        cells = [tag("td", _figure(metric, figures.get(metric), metric in missing)) for metric in metrics]
        digests = (run.protocol_digest, str(run.metrics.get("model_digest", "")), str(run.provenance["git_commit"]))
        rows.append(
            tag(
                "tr",
                tag("th", tag("a", run.name, href=quote(page)), scope="row"),
                tag("td", protocol.get("data_set", ""), class_="text"),
                *cells,
                tag("td", protocol.get("clips", "")),
                *[tag("td", tag("code", digest[:8], title=digest)) for digest in digests],
            )
        )
    table = tag("table", tag("thead", tag("tr", [tag("th", h, scope="col") for h in heads])), tag("tbody", rows))
    return tag("div", table, class_="wide")


def _chooser(runs: Sequence[Run]) -> Markup:
    def choice(name: str, chosen: int) -> Markup:
        options = [tag("option", run.name, value=i, selected="" if i == chosen else None) for i, run in enumerate(runs)]
        return tag("label", f"{name} ", tag("select", options, id=name.lower()))

    return tag(
        "div",
        tag("div", choice("A", 0), choice("B", min(1, len(runs) - 1)), class_="bar choose"),
        tag("noscript", tag("p", "Comparing two runs needs the page's script.", class_="note")),
        tag("div", id="comparison", aria_live="polite"),
    )


def _data(runs: Sequence[Run], metrics: Sequence[str]) -> str:
    """The runs as JSON that ends no script element."""
    plain = [
        {
            "name": run.name,
            "main": run.main,
            "baseline": run.baseline,
            "folder": str(run.folder),
            "digest": run.protocol_digest,
            "protocol": {k: json.dumps(v, sort_keys=True) for k, v in flat(run.metrics["protocol"]).items()},
            "figures": run.figures,
            "curves": run.curves,
            "missing": [_name(str(m.get("metric", ""))) for m in run.metrics.get("not_computed", [])],
        }
        for run in runs
    ]
    units = {m: [_name(m), *_unit(m)] for m in {*metrics, *(c for r in runs for c in r.curves)}}
    text = json.dumps({"runs": plain, "units": units}, sort_keys=True, allow_nan=False)
    return text.replace("<", "\\u003c")


def _figure(metric: str, value: float | None, told: bool) -> str:
    if value is None:
        return "not computed" if told else ""
    decimals, unit = _unit(metric)
    return f"{value:.{decimals}f} {unit}".strip()


def _name(metric: str) -> str:
    """ "fvd_extrapolated" -> "FVD, extrapolated"."""
    base = metric.removesuffix(EXTRAPOLATED)
    return heading(base) + (", extrapolated" if base != metric else "")


def _unit(metric: str) -> tuple[int, str]:
    return UNITS.get(metric.removesuffix(EXTRAPOLATED), (4, ""))


def _is_report(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("metrics.json", "provenance.json"))


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    for depth in range(1, max((len(f.parts) for f in folders), default=0) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
