"""The curves of `make bench-scale` as one picture (SVG): each relative to its first point, beside what is proportional
to the size.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

from moso.evaluation.report.charts import HEIGHT, WIDTH, Series, line_chart

NAMESPACE = "http://www.w3.org/2000/svg"
LINE = 18
COLOURS = (0, 2, 3, 4)
"""Of a panel's curves; the one that is left is that of what is proportional. STYLE has no more."""
STYLE = """
svg { font: 12px system-ui, sans-serif; }
.title { font-weight: 600; font-size: 14px; }
text { fill: #1d2126; }
.axis { stroke: #5d6670; fill: none; } .grid { stroke: #dfe2e5; }
.line { fill: none; stroke-width: 2; }
.c0 { stroke: #0b6e99; } .c1 { stroke: #8a8f98; } .c2 { stroke: #c58b00; } .c3 { stroke: #1a7f4b; }
.c4 { stroke: #b3428f; }
.dot.c0 { fill: #0b6e99; } .dot.c1 { fill: #8a8f98; } .dot.c2 { fill: #c58b00; } .dot.c3 { fill: #1a7f4b; }
.dot.c4 { fill: #b3428f; }
"""


def chart(curves: Sequence[dict[str, Any]]) -> str:
    """Time above, memory below; a unit without a curve is left out."""
    panels = [
        ("Seconds, times the smallest size's", [c for c in curves if c["unit"] == "s"]),
        ("Peak memory, times the smallest size's", [c for c in curves if c["unit"] == "MiB"]),
    ]
    whole = ET.Element("svg", xmlns=NAMESPACE)
    ET.SubElement(whole, "style").text = STYLE
    ET.SubElement(whole, "rect", width="100%", height="100%", fill="#ffffff")
    top = 0
    for title, those in panels:
        if those:
            top = _panel(whole, top, title, those)
    whole.set("viewBox", f"0 0 {WIDTH} {top}")
    whole.set("width", str(WIDTH))
    whole.set("height", str(top))
    return ET.tostring(whole, encoding="unicode") + "\n"


def _panel(whole: ET.Element, top: int, title: str, curves: Sequence[dict[str, Any]]) -> int:
    """Draws one below `top`; returns where it ends."""
    most = max(c["x"][-1] / c["x"][0] for c in curves)
    series = [Series("proportional", [1, most], [1, most], colour=1, dashed=True)]
    for colour, curve in zip(COLOURS[: len(curves)], curves, strict=True):
        x, y = curve["x"], curve["y"]
        name = f"{curve['title']} ({curve['label']})"
        series.append(Series(name, [one / x[0] for one in x], [one / y[0] for one in y], colour))
    figure = ET.fromstring(line_chart(title, series, x_label="size, times the smallest", y_label="times"))
    picture = figure.find("svg")
    assert picture is not None
    _text(whole, 12, top + LINE, title, "title")
    picture.set("y", str(top + LINE + 8))
    picture.set("width", str(WIDTH))
    picture.set("height", str(HEIGHT))
    whole.append(picture)
    place = top + LINE + 8 + HEIGHT
    for one in series:
        place += LINE
        key = ET.SubElement(whole, "path", {"class": f"line c{one.colour}", "d": f"M58 {place - 4}h24"})
        if one.dashed:
            key.set("stroke-dasharray", "6 4")
        _text(whole, 90, place, one.name)
    return place + LINE


def _text(whole: ET.Element, x: int, y: int, text: str, kind: str = "label") -> None:
    ET.SubElement(whole, "text", {"class": kind, "x": str(x), "y": str(y)}).text = text
