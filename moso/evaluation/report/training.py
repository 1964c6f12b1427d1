"""What the trainings left behind: their curves, and how the one codebook is shared."""

from __future__ import annotations

import numpy as np

from moso.evaluation.report.charts import Series, line_chart
from moso.evaluation.report.elements import table, thinned
from moso.evaluation.report.evaluation import Evaluation
from moso.evaluation.report.markup import Markup, tag

COLOURS = 8  # of the style sheet


def training_section(e: Evaluation) -> Markup:
    """Curves of both trainings."""
    charts = []
    for curves in e.curves:
        series = [
            Series(column.replace("_", " "), *thinned(steps, values), i % COLOURS, column.startswith("validation"))
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
        series.append(Series(component, *thinned(range(1, len(used) + 1), used * 100), i))
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
    return Markup(table(heads, rows) + tag("div", chart, class_="charts"))
