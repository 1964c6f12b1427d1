"""The paper's own layout: our figures beside the published rows of the same protocol.

What was not computed, and what our source lacks, is left blank in the table and said below it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from moso.config import to_dict
from moso.errors import MismatchError
from moso.evaluation.metrics import heading
from moso.evaluation.protocol_file import ProtocolFile, load_protocol, protocol_differences
from moso.evaluation.published import PublishedTable, published_for
from moso.evaluation.windows import in_words

HEADINGS = {"fvd": "FVD ↓", "fid": "FID ↓", "lpips": "LPIPS ↓", "psnr": "PSNR (dB) ↑", "ssim": "SSIM (%) ↑"}
DECIMALS = {"fvd": 1, "fid": 1, "lpips": 3, "psnr": 1, "ssim": 1}
# What a protocol file fixes and a realised protocol (moso.evaluation.protocol) states under the same name.
FIXED = (
    "task", "data_set", "split", "given_frames", "clip_frames", "predicted_frames", "height", "width",
    "samples_per_video", "best_of", "given_frames_count", "carry", "seed", "resize",
)  # fmt: skip
OURS = "MOSO Pipeline"
"""How tables call what was measured; the baselines keep their names."""
CEILING = "reconstruction (ceiling)"
"""What the VQVAE makes of the true frames: no rival, but what a prediction cannot be better than."""


@dataclass(frozen=True)
class BenchmarkTable:
    """One table, as data and as text.

    Attributes:
        title: in words.
        frame: columns method, origin ("published", "ours", "baseline", "ceiling") and a column a metric, NaN where
            there is no figure; SSIM in percent.
        notes: on how many clips ours rest, what is blank and why, and what to know before comparing.
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
        looks = ["", ' class="text"', *[""] * (len(head) - 2)]  # the words of origin stand to the left, as the methods
        titles = "".join(f'<th scope="col"{look}>{escape(c)}</th>' for c, look in zip(head, looks, strict=True))
        body = "".join(
            ('<tr class="ours">' if row[1] == "ours" else "<tr>")
            + f'<th scope="row">{escape(row[0])}</th><td class="text">{escape(row[1])}</td>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[2:])
            + "</tr>"
            for row in rows
        )
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        table = f"<table><caption>{escape(self.title)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody>"
        return f'<div class="wide">{table}</table></div><ul class="notes">{notes}</ul>'

    def _cells(self) -> list[list[str]]:
        metrics = [name for name in self.frame.columns if name not in ("method", "origin")]
        rows = [["method", "origin", *(HEADINGS.get(name, heading(name)) for name in metrics)]]
        for row in self.frame.to_dict("records"):
            figures = [f"{row[m]:.{_decimals(m)}f}" if row[m] == row[m] else "" for m in metrics]
            rows.append([row["method"], row["origin"], *figures])
        return rows


def differences(name: str, realised: Any) -> list[str]:
    """Where a realised protocol is not what the named file asks for: "samples_per_video: 100 | 1" (asked | measured).

    A metric's backbone is part of its name, so that metrics do not count; every other field that the file fixes does,
    and so do the published lists: another one, none, or a hash in its place.

    Args:
        name: of the protocol file, for example "kth/64".
        realised: the protocol that was measured, as a dataclass or plain data.

    Raises:
        ConfigError: no such protocol file.
    """
    asked, plain = load_protocol(name), to_dict(realised)
    stated = {field: plain[field] for field in FIXED if field in plain}
    found = protocol_differences({field: getattr(asked, field) for field in FIXED}, stated)
    if asked.rolls_out and plain.get("fade", asked.fade) != asked.fade:
        found.append(f"fade: {asked.fade} | {plain['fade']}")
    if plain.get("fvd"):  # stated where one was asked for
        found += protocol_differences({"fvd": to_dict(asked.fvd)}, {"fvd": plain["fvd"]})
    predicted = asked.given_frames + asked.predicted_frames if asked.task == "prediction" else 0
    windows = in_words(asked.windows, max(asked.clip_frames, predicted))
    if plain.get("clip_rule", windows) != windows and asked.task != "unconditional":
        found.append(f"windows: {windows} | {plain['clip_rule']}")
    drawn = plain.get("videos_drawn") or plain.get("clips", plain.get("videos", "(not stated)"))
    if asked.videos is not None and drawn != asked.videos:
        found.append(f"videos: {asked.videos} | {drawn}")
    return [*found, *_other_lists(asked, plain)]


def _other_lists(asked: ProtocolFile, plain: Mapping[str, Any]) -> list[str]:
    """Where the splits rest on other published lists than the file names; [] of a protocol without splits."""
    if "splits" not in plain:
        return []
    splits = plain["splits"] or {}
    if splits.get("substitute"):
        return ["splits: the published list | a seeded hash that stands in for it"]
    lists = splits.get("lists") or {}
    return [
        f"split_lists.{file}: {sha256[:12]} | {lists.get(file, '(not used)')[:12]}"
        for file, sha256 in asked.split_lists.items()
        if lists.get(file) != sha256
    ]


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
        ConfigError: no such protocol file.
        MismatchError: `realised` is not what the file asks for; the fields are listed.
    """
    if found := differences(name, realised):
        where = "; ".join(found)
        raise MismatchError(f"these figures were not measured as {name} asks (asked | measured): {where}")
    return _table(load_protocol(name), _published(name, table), ours, realised, not_computed or {})


def table_of(
    asked: ProtocolFile,
    ours: Mapping[str, Mapping[str, float]],
    realised: Any,
    *,
    main: str,
    not_computed: Mapping[str, str] | None = None,
) -> BenchmarkTable:
    """The table of a run, whatever it measured: ours stands beside published rows only where it may.

    Under another protocol than the named file's (an override, fewer clips) ours stands alone, and a note says where the
    two differ; without a named file likewise.

    Args:
        asked: the run's protocol; its `name` is the file's, "" without one.
        ours: as for `benchmark_table`; `main` among its methods. "reconstruction" of another task is the ceiling, and
            "fvd_extrapolated" becomes a note.
        realised: the protocol that was measured.
        main: the method that is not a baseline.
        not_computed: metric -> why.
    """
    rows = {_row(method, main): of for method, of in ours.items()}
    reasons = not_computed or {}
    if not asked.name:
        return _table(asked, None, rows, realised, reasons)
    found = differences(asked.name, realised)
    if not found:
        return _table(asked, _published(asked.name, None), rows, realised, reasons)
    why = f"Not measured as {asked.name} asks (asked | measured): {'; '.join(found)}. Published rows are left out."
    return _table(dataclasses.replace(asked, title=f"{asked.title}, changed"), None, rows, realised, reasons, why)


def _row(method: str, main: str) -> str:
    if method == main:
        return OURS
    return CEILING if method == "reconstruction" else method.replace("_", " ")


def _published(name: str, table: str | None) -> PublishedTable | None:
    tables = published_for(name)
    return tables[table] if table else next(iter(tables.values()), None)


def _table(
    asked: ProtocolFile,
    published: PublishedTable | None,
    ours: Mapping[str, Mapping[str, float]],
    realised: Any,
    reasons: Mapping[str, str],
    left_out: str = "",
) -> BenchmarkTable:
    """Rows and notes; `left_out` says why there are no published ones."""
    source = _columns(asked, published)
    metrics = tuple(source)
    nan = float("nan")
    rows = [
        {"method": r["method"], "origin": "published", **{m: float(r.get(m, nan)) for m in metrics}}
        for r in (published.rows if published else ())
    ]
    for method, values in ours.items():
        figures = {m: float(values.get(source[m], nan)) * (100 if m == "ssim" else 1) for m in metrics}
        rows.append({"method": method, "origin": _origin(method, ours), **figures})
    notes = list(published.notes) if published else [left_out or "No published figures of this protocol in our source."]
    notes += [f"Not in our source: {what}." for what in (published.not_in_source if published else ())]
    notes += [*_counted(realised), *_blanks(source, ours, reasons), *_extrapolated(metrics, ours)]
    backbone = source.get("lpips", "")
    if any(backbone in values for values in ours.values()):
        notes.append(f"Our LPIPS is {heading(backbone)}: another backbone gives up to four times the value.")
    title = published.title if published else asked.title
    return BenchmarkTable(title, pd.DataFrame(rows, columns=["method", "origin", *metrics]), tuple(notes))


def _decimals(metric: str) -> int:
    return DECIMALS.get(metric.partition("_")[0], 1)


def _columns(asked: ProtocolFile, published: PublishedTable | None) -> dict[str, str]:
    """Column -> its key in our figures: the published columns first, then what was asked for beside them.

    The published LPIPS is of the protocol file's backbone; one of another backbone stands in a column of its own.
    """
    file = load_protocol(asked.name) if asked.name and published else asked
    backbone = next((m for m in file.metrics if m.startswith("lpips_")), "lpips_alex")
    source = {m: backbone if m == "lpips" else m for m in (published.metrics if published else ())}
    for key in asked.metrics:
        if key not in source.values():
            column = "lpips" if key.startswith("lpips_") and "lpips" not in source else key
            source[column] = key
    return source


def _counted(realised: Any) -> list[str]:
    """On how many clips our rows rest; [] of a protocol that does not say it."""
    plain = to_dict(realised)
    if not plain.get("clips") or not plain.get("episodes"):
        return []
    number = f"{plain['clips']:,} clips of {plain['episodes']:,} episodes"
    drawn = plain.get("videos_drawn")
    return [f"Ours: {drawn:,} videos drawn, against {number}." if drawn else f"Ours: {number}."]


def _blanks(
    source: Mapping[str, str], ours: Mapping[str, Mapping[str, float]], reasons: Mapping[str, str]
) -> list[str]:
    """Why cells of our rows are blank."""
    notes = []
    for key in source.values():
        lacking = {_origin(method, ours) for method, values in ours.items() if key not in values}
        if all(key not in values for values in ours.values()):
            notes.append(f"{heading(key)} not computed: {reasons.get(key, 'not part of this run')}.")
        elif lacking:
            named = {"ours": OURS, "baseline": "baselines", "ceiling": "the ceiling"}
            whose = " and ".join(words for origin, words in named.items() if origin in lacking)
            notes.append(f"{heading(key)} of {whose} is not computed.")
    return notes


def _extrapolated(metrics: Sequence[str], ours: Mapping[str, Mapping[str, float]]) -> list[str]:
    return [
        f"{heading(metric)} of {method} extrapolated to infinitely many videos: "
        f"{values[f'{metric}_extrapolated']:.{_decimals(metric)}f}. Few videos make it too large."
        for metric in metrics
        for method, values in ours.items()
        if f"{metric}_extrapolated" in values
    ]


def _origin(method: str, ours: Mapping[str, Any]) -> str:
    """Of a run's rows the one under the project's name is ours; a table made by hand holds ours alone."""
    if OURS not in ours or method == OURS:
        return "ours"
    return "ceiling" if method == CEILING else "baseline"
