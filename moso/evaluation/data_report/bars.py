"""Histograms as inline SVG, one bar a bin and split side by side, in the report page's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moso.evaluation.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, number
from moso.evaluation.report.markup import Markup, tag

MOST_LABELS = 9
STYLE = """
.bar-c0 { fill: var(--c0); } .bar-c1 { fill: var(--c2); } .bar-c2 { fill: var(--c3); }
"""
COLOURS = 3


def histogram_chart(
    title: str, edges: Sequence[float], counts: Mapping[str, Sequence[int]], *, x_label: str, y_label: str
) -> Markup:
    """A figure element; bins are drawn equally wide whatever their edges, heights are shares of the split's total.

    Args:
        title: caption.
        edges: of the bins, one more than bins.
        counts: split -> count a bin; splits without any are left out.
        x_label: of the horizontal axis, with its unit.
        y_label: what is counted.
    """
    shares = {s: [100 * n / sum(c) for n in c] for s, c in counts.items() if sum(c)}
    caption = tag("figcaption", title)
    if not shares:
        return tag("figure", caption, tag("p", "No data.", class_="note"), class_="chart")
    first, last = _ends(shares)
    floor, right, bins = HEIGHT - BOTTOM, WIDTH - RIGHT, last - first
    across = Axis(0, bins, LEFT, right)
    down = Axis(0, max(max(s) for s in shares.values()), floor, TOP)
    drawing: list[object] = [tag("path", class_="axis", d=f"M{LEFT} {TOP}V{floor}H{right}")]
    for y in down.ticks():
        drawing.append(tag("line", class_="grid", x1=LEFT, x2=right, y1=down(y), y2=down(y)))
        drawing.append(tag("text", number(y), class_="tick", x=LEFT - 8, y=down(y) + 4, text_anchor="end"))
    step = -(-bins // (MOST_LABELS - 1))
    for i in range(0, bins + 1, step):
        drawing.append(
            tag("text", number(edges[first + i]), class_="tick", x=across(i), y=floor + 18, text_anchor="middle")
        )
    width = 0.84 / len(shares)
    for column, (split, values) in enumerate(shares.items()):
        for i, share in enumerate(values[first:last]):
            if not share:
                continue
            left, end = across(i + 0.08 + column * width), across(i + 0.08 + (column + 1) * width)
            hint = f"{split}, {number(edges[first + i])} to {number(edges[first + i + 1])}: {share:.2g} %"
            drawing.append(
                tag(
                    "path",
                    tag("title", hint),
                    class_=f"bar-c{column % COLOURS}",
                    d=f"M{left} {floor}V{down(share)}H{end}V{floor}Z",
                )
            )
    middle = (floor + TOP) / 2
    turned = f"rotate(-90 14 {middle})"
    drawing.append(tag("text", x_label, class_="label", x=(LEFT + right) / 2, y=HEIGHT - 6, text_anchor="middle"))
    drawing.append(tag("text", y_label, class_="label", x=14, y=middle, text_anchor="middle", transform=turned))
    legend = [
        tag("li", tag("svg", tag("path", class_=f"bar-c{i % COLOURS}", d="M0 0H24V8H0Z"), class_="key"), split)
        for i, split in enumerate(shares)
    ]
    picture = tag("svg", drawing, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    return tag("figure", caption, picture, tag("ul", legend, class_="legend"), class_="chart")


def _ends(shares: Mapping[str, Sequence[float]]) -> tuple[int, int]:
    """[first, last): the bins between which something lies."""
    filled = [i for values in shares.values() for i, share in enumerate(values) if share]
    return min(filled), max(filled) + 1
