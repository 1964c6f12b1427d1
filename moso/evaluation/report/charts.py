"""Line charts as inline SVG: no script, no outside resource, colours from the page's style sheet (light and dark)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moso.evaluation.report.markup import Markup, tag

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 14, 42
MOST_DOTS = 16


@dataclass(frozen=True)
class Series:
    """One line: its legend and its points; points that are no finite number are left out.

    Attributes:
        name: legend.
        x: horizontal positions, rising.
        y: values.
        colour: number of the style sheet's colour, from 0.
        dashed: draw it dashed (bounds and references, against what is measured).
        low: lower end of a band around the line, a value a point; drawn where both ends are given and finite.
        high: upper end of it.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    dashed: bool = False
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None

    def path(self, d: str) -> Markup:
        """A line of this series' look."""
        return tag("path", class_=f"line c{self.colour}", d=d, stroke_dasharray="6 4" if self.dashed else None)


@dataclass(frozen=True)
class Axis:
    """Values to pixels along one direction.

    Attributes:
        low: value at the pixel `start`.
        high: value at the pixel `end`.
        start: see `low`.
        end: see `high`.
        log: equal ratios are equal distances.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers along the axis."""
        return decades(self.low, self.high) if self.log else ticks(self.low, self.high, count)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / raw)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`, with 2 and 5 times them where they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [f * 10.0**p for p in powers for f in factors if low * 0.999 <= f * 10.0**p <= high * 1.001]
        if len(found) >= 3:
            return found
    return ticks(low, high)


def number(value: float) -> str:
    """A short label: 1500 -> '1,500', 0.25 -> '0.25'."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def line_chart(title: str, series: Sequence[Series], *, x_label: str, y_label: str, log_y: bool = False) -> Markup:
    """A figure element with the chart and its legend.

    Args:
        title: caption.
        series: the lines; those without a point are left out of the legend too.
        x_label: of the horizontal axis, with its unit.
        y_label: of the vertical axis, with its unit.
        log_y: logarithmic vertical axis; values that are not positive are left out.
    """
    lines = [(s, points) for s in series if (points := _points(s.x, s.y, log_y))]
    caption = tag("figcaption", title)
    if not lines:
        return tag("figure", caption, tag("p", "No data.", class_="note"), class_="chart")
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    bands = [(s, band) for s, _ in lines if len(band := _band(s, log_y)) > 1]
    xs = [x for _, points in lines for x, _ in points]
    ys = [y for _, points in lines for _, y in points] + [y for _, band in bands for _, *ends in band for y in ends]
    across = Axis(min(xs), max(xs), LEFT, right)
    down = Axis(*_room(min(ys), max(ys), log_y), floor, TOP, log_y)
    # Nobody wants to read of frame 3.5.
    at = [x for x in across.ticks(6) if x == int(x) or any(point != int(point) for point in xs)]
    drawing: list[object] = [_grid(across, at, down, x_label, y_label)]
    for s, band in bands:  # below every line
        outline = [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]
        d = "M" + "L".join(f"{across(x)} {down(y)}" for x, y in outline) + "Z"
        drawing.append(tag("path", class_=f"band c{s.colour}", d=d))
    for s, points in lines:
        drawing.append(s.path("M" + "L".join(f"{across(x)} {down(y)}" for x, y in points)))
        if len(points) <= MOST_DOTS:
            drawing += [
                tag(
                    "circle",
                    tag("title", f"{s.name}, {x_label} {number(x)}: {y:.4g}"),
                    class_=f"dot c{s.colour}",
                    cx=across(x),
                    cy=down(y),
                    r=3,
                )
                for x, y in points
            ]
    legend = [tag("li", tag("svg", s.path("M1 4H23"), class_="key", viewBox="0 0 24 8"), s.name) for s, _ in lines]
    picture = tag("svg", drawing, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    return tag("figure", caption, picture, tag("ul", legend, class_="legend"), class_="chart")


def _grid(across: Axis, at: Sequence[float], down: Axis, x_label: str, y_label: str) -> list[Markup]:
    floor, right, middle = HEIGHT - BOTTOM, WIDTH - RIGHT, (HEIGHT - BOTTOM + TOP) / 2
    parts = [tag("path", class_="axis", d=f"M{LEFT} {TOP}V{floor}H{right}")]
    for y in down.ticks():
        parts.append(tag("line", class_="grid", x1=LEFT, x2=right, y1=down(y), y2=down(y)))
        parts.append(tag("text", number(y), class_="tick", x=LEFT - 8, y=down(y) + 4, text_anchor="end"))
    for x in at:
        parts.append(tag("line", class_="axis", x1=across(x), x2=across(x), y1=floor, y2=floor + 4))
        parts.append(tag("text", number(x), class_="tick", x=across(x), y=floor + 18, text_anchor="middle"))
    turned = f"rotate(-90 14 {middle})"
    parts.append(tag("text", x_label, class_="label", x=(LEFT + right) / 2, y=HEIGHT - 6, text_anchor="middle"))
    parts.append(tag("text", y_label, class_="label", x=14, y=middle, text_anchor="middle", transform=turned))
    return parts


def _points(xs: Sequence[float], ys: Sequence[float], positive: bool) -> list[tuple[float, float]]:
    pairs = zip(xs, ys, strict=True)
    return [(float(x), float(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y) and (y > 0 or not positive)]


def _band(series: Series, positive: bool) -> list[tuple[float, float, float]]:
    """(x, lower end, upper end) of each point that has a whole one."""
    if series.low is None or series.high is None:
        return []
    ends = zip(series.x, series.low, series.high, strict=True)
    whole = [(float(x), float(low), float(high)) for x, low, high in ends]
    return [e for e in whole if all(map(math.isfinite, e)) and (e[1] > 0 or not positive)]


def _room(low: float, high: float, log: bool) -> tuple[float, float]:
    if log:
        return low / 1.1, high * 1.1
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room
