"""The paper's own layout: our figures beside the published rows of the same protocol.

What was not computed, and what our source lacks, is left blank in the table and said below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from moso.config import to_dict
from moso.errors import MismatchError
from moso.evaluation.protocol_file import load_protocol, protocol_differences
from moso.evaluation.published import published_for

HEADINGS = {"fvd": "FVD ↓", "fid": "FID ↓", "lpips": "LPIPS ↓", "psnr": "PSNR (dB) ↑", "ssim": "SSIM (%) ↑"}
DECIMALS = {"fvd": 1, "fid": 1, "lpips": 3, "psnr": 1, "ssim": 1}
# What a protocol file fixes and a realised protocol (moso.evaluation.protocol) states under the same name.
FIXED = (
    "data_set", "split", "given_frames", "clip_frames", "predicted_frames", "height", "width", "samples_per_video",
    "given_frames_count",
)  # fmt: skip


@dataclass(frozen=True)
class BenchmarkTable:
    """One table, as data and as text.

    Attributes:
        title: in words.
        frame: columns method, origin ("published" or "ours") and a column a metric, NaN where there is no figure;
            SSIM in percent.
        notes: what is blank and why, and what to know before comparing.
    """

    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def markdown(self) -> str:
        """The table in Markdown, its notes below."""
        head, *rows = self._cells()
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
        lines.insert(1, "|" + "---|" * len(head))
        return "\n".join([f"### {self.title}", "", *lines, "", *(f"- {note}" for note in self.notes)]) + "\n"

    @property
    def html(self) -> str:
        """The table as an HTML fragment that needs nothing else; every text is escaped."""
        head, *rows = self._cells()
        titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        table = f"<table><caption>{escape(self.title)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody>"
        return f"{table}</table><ul>{notes}</ul>"

    def _cells(self) -> list[list[str]]:
        metrics = [name for name in self.frame.columns if name not in ("method", "origin")]
        rows = [["method", "origin", *(HEADINGS.get(name, name) for name in metrics)]]
        for row in self.frame.to_dict("records"):
            figures = [f"{row[m]:.{DECIMALS.get(m, 1)}f}" if row[m] == row[m] else "" for m in metrics]
            rows.append([row["method"], row["origin"], *figures])
        return rows


def benchmark_table(
    name: str,
    ours: Mapping[str, Mapping[str, float]],
    realised: Any,
    *,
    not_computed: Mapping[str, str] | None = None,
    table: str | None = None,
) -> BenchmarkTable:
    """Our figures beside the published ones.

    Args:
        name: of the protocol file, for example "kth/64".
        ours: method -> metric -> figure as files hold it (SSIM a fraction); LPIPS with its backbone ("lpips_alex").
        realised: the protocol that `ours` was measured under, as a dataclass or plain data.
        not_computed: metric -> why, shown below the table.
        table: which published table where several share the protocol; the first when None.

    Raises:
        MismatchError: `realised` is not what the file asks for; the fields are listed.
    """
    asked = load_protocol(name)
    plain = to_dict(realised)
    fixed = {field: getattr(asked, field) for field in FIXED}
    # A metric's backbone is part of its name; every other field that the file fixes must be as asked.
    differences = protocol_differences(fixed, {field: plain[field] for field in FIXED if field in plain})
    videos = plain.get("clips", plain.get("videos", "(not stated)"))
    if asked.videos is not None and videos != asked.videos:
        differences.append(f"videos: {asked.videos} | {videos}")
    if differences:
        where = "; ".join(differences)
        raise MismatchError(f"these figures were not measured as {name} asks (asked | measured): {where}")
    tables = published_for(name)
    published = tables[table] if table else next(iter(tables.values()), None)
    backbone = next((m for m in asked.metrics if m.startswith("lpips_")), "lpips_alex")
    metrics = published.metrics if published else tuple(m.split("_")[0] for m in asked.metrics)
    source = {m: backbone if m == "lpips" else m for m in metrics}
    nan = float("nan")
    rows = [
        {"method": r["method"], "origin": "published", **{m: float(r.get(m, nan)) for m in metrics}}
        for r in (published.rows if published else ())
    ]
    notes = list(published.notes) if published else ["No published figures of this protocol in our source."]
    notes += [f"Not in our source: {what}." for what in (published.not_in_source if published else ())]
    for method, values in ours.items():
        figures = {m: float(values.get(source[m], nan)) * (100 if m == "ssim" else 1) for m in metrics}
        rows.append({"method": method, "origin": "ours", **figures})
    reasons = dict(not_computed or {})
    for m in metrics:
        if not ours or any(values.get(source[m]) is None for values in ours.values()):
            notes.append(f"{source[m]} not computed: {reasons.get(source[m], 'not part of this run')}.")
    if "lpips" in metrics:
        notes.append(f"Ours is {backbone}: another backbone gives up to four times the value.")
    title = published.title if published else asked.title
    return BenchmarkTable(title, pd.DataFrame(rows, columns=["method", "origin", *metrics]), tuple(notes))
