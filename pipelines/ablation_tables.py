"""The ablations' figures beside the paper's: as a pandas table (csv, parquet) and as a page.

A figure that was not computed is empty in the table and says so on the page; none is ever filled in. SSIM is a fraction
in the table, and percent on the page, which is laid out like the paper's.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moso.evaluation.report.assets import STYLE
from moso.evaluation.report.markup import Markup, page_head, tag
from pipelines.ablations import Ablations, Row, Table

if TYPE_CHECKING:
    import pandas as pd

MEASURED = ("psnr", "ssim")
PRETRAINED = ("lpips", "fid", "fvd")  # filled where the networks are there
SOURCES = {"lpips": "lpips_alex", "fid": "fid", "fvd": "fvd"}  # their names in metrics.json
NAMES = {"psnr": "PSNR, dB", "ssim": "SSIM, %", "lpips": "LPIPS", "fid": "FID", "fvd": "FVD"}
COUNTS = (
    "vqvae_parameters",
    "transformer_parameters",
    "tokens",
    "codes_used",
    "clips",
    "episodes",
    "seed",
    "stage_1_steps",
    "stage_1_batch",
    "stage_2_steps",
    "stage_2_batch",
)
OURS = (
    *MEASURED,
    *PRETRAINED,
    *(f"reconstruction_{metric}" for metric in MEASURED),
    *COUNTS,
    *(f"{stage}_digest" for stage in ("stage_1", "stage_2")),
    "git_commit",
)
DIGITS = {"psnr": 2, "ssim": 1, "lpips": 4, "fid": 1, "fvd": 1}


def gather(ablations: Ablations, runs: Path) -> pd.DataFrame:
    """A row a row of the tables: settings, sizes, our figures and the paper's.

    Args:
        ablations: the variants and tables.
        runs: folder with a folder a variant: reconstruction.json, transformer/, report/metrics.json. What is not there
            was not run, and its columns are empty.
    """
    import pandas as pd

    rows = [_row(ablations, table, row, runs) for table in ablations.tables for row in table.rows]
    return pd.DataFrame(rows).astype(dict.fromkeys((*COUNTS, "paper_tokens"), "Int64"))


def _row(ablations: Ablations, table: Table, row: Row, runs: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if row.of is not None:
        found = _found(ablations, row.of, runs, second=table.measured == "prediction")
    return {
        "table": table.number,
        "row": row.label,
        "variant": row.of,
        "measured": table.measured,
        "data_set": ablations.dataset,
        **{name: found.get(name) for name in OURS},
        "paper_measured_on": table.paper,
        **{f"paper_{metric}": _paper(row, metric) for metric in (*MEASURED, *PRETRAINED)},
        "paper_parameters": row.paper_parameters,
        "paper_tokens": row.paper_tokens,
    }


def _found(ablations: Ablations, variant: str, runs: Path, *, second: bool) -> dict[str, Any]:
    """What a variant's files say, column by column; nothing of what is not there."""
    one = runs / (ablations.stage_2[variant]["vqvae"] if second else variant)
    stage_1, trained_1 = _json(one / "reconstruction.json"), _json(one / "vqvae" / "provenance.json")
    found = {f"reconstruction_{metric}": stage_1.get(metric) for metric in MEASURED}
    found |= {name: stage_1.get(name) for name in (*MEASURED, "tokens", "codes_used", "clips", "episodes")}
    found |= {name: stage_1.get(source) for name, source in SOURCES.items()}
    found["vqvae_parameters"] = stage_1.get("parameters")
    found |= _trained("stage_1", trained_1)
    if second:
        metrics = _json(runs / variant / "report" / "metrics.json")
        figures, protocol = metrics.get("prediction", {}), metrics.get("protocol", {})
        found |= {metric: figures.get(metric) for metric in MEASURED}
        found |= {name: figures.get(source) for name, source in SOURCES.items()}
        found |= {name: protocol.get(name) for name in ("clips", "episodes")}
        found["transformer_parameters"] = _parameters(runs / variant / "transformer")
        found |= _trained("stage_2", _json(runs / variant / "transformer" / "provenance.json"))
    return found


def _trained(stage: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Budget, seed and digest of a training, from its provenance.json."""
    training = record.get("config", {}).get("training", {})
    return {
        f"{stage}_steps": training.get("steps"),
        f"{stage}_batch": training.get("batch"),
        f"{stage}_digest": record.get("digest"),
        "seed": record.get("seed"),
        "git_commit": record.get("git_commit"),
    }


def _paper(row: Row, metric: str) -> float | None:
    """The printed figure, in the table's units."""
    value = row.paper.get(metric)
    return None if value is None else round(value / 100, 6) if metric == "ssim" else float(value)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _parameters(folder: Path) -> int | None:
    """Trained numbers of a transformer; None where there is none."""
    if not (folder / "config.json").exists():
        return None
    from moso.parameters import count_parameters
    from moso.transformer.model import load_transformer

    return count_parameters(load_transformer(folder))


def provenance(ablations: Ablations, rows: pd.DataFrame) -> dict[str, str]:
    """What a reader must know of all figures: data set, budget, seed, code and machine."""
    import torch

    def values(*names: str) -> str:
        kinds = rows[list(names)].dropna().drop_duplicates().to_dict("records")
        return "; ".join(" x ".join(str(kind[name]) for name in names) for kind in kinds) or "none was run"

    return {
        "Data set": ablations.dataset,
        "Preset": ablations.preset,
        "Stage I, steps x clips": values("stage_1_steps", "stage_1_batch"),
        "Stage II, steps x clips": values("stage_2_steps", "stage_2_batch"),
        "Test clips": values("clips"),
        "Seed": f"{values('seed')}; one training each, so small differences say nothing",
        "Git commits of the trainings": values("git_commit"),
        "Tables made on": ", ".join(
            (_processor(), f"{os.cpu_count()} cores", _accelerator(), f"torch {torch.__version__}")
        ),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _accelerator() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def render(ablations: Ablations, rows: pd.DataFrame, facts: Mapping[str, str]) -> str:
    """One HTML document that asks for nothing from outside."""
    title = f"Ablations on {ablations.dataset}"
    head = page_head(title, STYLE)
    missing = [name.upper() for name in PRETRAINED if rows[name].isna().all()]
    why = (
        tag(
            "li",
            f"{', '.join(missing)}: not computed where the field is empty; they need pretrained networks, which are "
            "not shipped and are never replaced by random ones. ",
            tag("code", "moso weights fetch"),
            " gets them; then run the ablations again.",
        )
        if missing
        else ""
    )
    top = tag(
        "header",
        tag("h1", title),
        tag(
            "p",
            "Each variant is a few settings over one preset, trained with the same reduced budget. Our figures and the "
            "paper's stand side by side for the order of the rows: data set, size and budget differ.",
            class_="note",
        ),
        tag("ul", why, class_="note"),
    )
    tables = [_section(table, rows[rows["table"] == table.number]) for table in ablations.tables]
    listed = tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in facts.items()])
    body = tag("body", tag("main", top, tables, tag("section", tag("h2", "Budget and provenance"), listed)))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _section(table: Table, rows: pd.DataFrame) -> Markup:
    import pandas as pd

    metrics = [m for m in (*MEASURED, *PRETRAINED) if m in MEASURED or rows[f"paper_{m}"].notna().any()]
    sizes = table.measured == "prediction"
    heads = [
        "",
        *(f"{NAMES[m]}" for m in metrics),
        *(f"paper: {NAMES[m]}" for m in metrics),
        *(("parameters", "paper: parameters", "tokens", "paper: tokens") if sizes else ("codes used",)),
    ]
    lines = []
    for row in rows.to_dict("records"):
        ours = [_figure(row[m], m, missing="not computed" if m in PRETRAINED else "not run") for m in metrics]
        if pd.isna(row["variant"]):
            ours = ["not ours"] * len(metrics)
        theirs = [_printed(row[f"paper_{m}"], m) for m in metrics]
        if sizes:
            counts = [_count(row[name]) for name in ("vqvae_parameters", "transformer_parameters")]
            more = [
                " + ".join(counts),
                _text(row["paper_parameters"]),
                _count(row["tokens"]),
                _count(row["paper_tokens"]),
            ]
        else:
            more = [_count(row["codes_used"])]
        lines.append(
            tag("tr", tag("th", row["row"], scope="row"), [tag("td", cell) for cell in (*ours, *theirs, *more)])
        )
    shown = tag("table", tag("thead", tag("tr", [tag("th", name) for name in heads])), tag("tbody", lines))
    what = f"Ours: {table.measured} of test clips. The paper: {table.paper}."
    return tag(
        "section", tag("h2", f"Table {table.number}: {table.title}"), tag("p", what, class_="note"),
        tag("div", shown, class_="wide"),
    )  # fmt: skip


def _figure(value: Any, metric: str, *, missing: str) -> str:
    if value is None or value != value:
        return missing
    return f"{value * 100 if metric == 'ssim' else value:.{DIGITS[metric]}f}"


def _printed(value: Any, metric: str) -> str:
    """The paper's figure with as many digits as it prints."""
    if _text(value) == "-":
        return "-"
    return f"{value:g}" if metric == "lpips" else f"{value * 100 if metric == 'ssim' else value:.1f}"


def _count(value: Any) -> str:
    return "-" if _text(value) == "-" else f"{int(value):,}"


def _text(value: Any) -> str:
    import pandas as pd

    return "-" if pd.isna(value) else str(value)


def write_tables(ablations: Ablations, runs: Path, folder: Path) -> None:
    """Write table.csv, table.parquet and index.html into `folder`."""
    rows = gather(ablations, runs)
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "table.csv", index=False, float_format="%.6f")
    rows.to_parquet(folder / "table.parquet", index=False)
    (folder / "index.html").write_text(render(ablations, rows, provenance(ablations, rows)), encoding="utf-8")
    for row in rows.to_dict("records"):
        figures = ", ".join(f"{m.upper()} {_figure(row[m], m, missing='-')}" for m in MEASURED)
        print(f"table {row['table']:>2}  {row['row']:45} {figures}")
