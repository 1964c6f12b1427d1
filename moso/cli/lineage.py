"""`moso lineage`: where a model or a run came from, and whether all of it still lies on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moso.cli.options import examples

if TYPE_CHECKING:
    from moso.lineage import Link

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
SHOWN = 10  # episodes named in one note


@click.command(
    epilog=examples(
        "moso lineage models:/moso-sim_push@champion",
        "moso lineage runs:/0123456789abcdef0123456789abcdef",
        "moso lineage models/sim_push",
        "moso lineage reports --deep",
    )
)
@click.argument("reference")
@click.option(
    "--project",
    type=FOLDER,
    default=Path("."),
    help="The folder with models/, data/ and reports/. [here]",
)
@click.option("--deep", is_flag=True, help="Also decode every episode, and hold its hash against its row.")
@click.option("--raw", type=FOLDER, help="The raw files, for --deep. [where ingest found them]")
@click.option("--json", "as_json", is_flag=True, help="Print the links as JSON.")
def command(reference: str, project: Path, deep: bool, raw: Path | None, as_json: bool) -> None:
    """Trace REFERENCE back to the episodes, verifying every digest.

    REFERENCE is a registered version (models:/…), a run (runs:/<id>, or its id alone), or a folder: a model, a report,
    another step's output, or a work folder with checkpoints. A finished training keeps no checkpoints: its weights are
    in its output. Ends with status 1 where something is missing, differs or is damaged.
    """
    import json

    from moso.cli.lineage_checkpoints import with_checkpoints
    from moso.config import to_dict
    from moso.lineage import trace

    work = project / os.environ.get("MOSO_WORK", ".work")
    claims, links, folder = _begin(reference, project, work)
    links += with_checkpoints(trace(claims, project, (folder,) if folder else ()), work)
    if deep:
        links += _deep(links, project, raw)
    wrong = [link for link in links if link.state != "verified"]
    if as_json:
        rows = [to_dict(link) | {"folder": str(link.folder) if link.folder else None} for link in links]
        click.echo(json.dumps(rows, indent=2))
    else:
        for link in links:
            click.echo(f"{link.what:12} {link.state:9} {link.digest[:16] or '-':16}  {link.folder or '-'}")
            click.echo(f"{'':22} {link.note} (named by: {link.needed_by})")
        names = ", ".join(f"{link.what} {link.digest[:12]} {link.state}" for link in wrong)
        click.echo(f"not whole: {names}" if wrong else f"whole: {len(links)} links, every digest verified")
        if registered := _registered(folder):
            click.echo(registered)
        if not deep and any(link.what == "manifest" for link in links):
            click.echo("the manifest's rows were not held against the episodes' files; --deep decodes and hashes each")
    if wrong:
        sys.exit(1)


def _registered(folder: Path | None) -> str:
    """The version that promotion made of a report's model, as its promotion.json says; "" where there is none."""
    import json

    path = folder / "promotion.json" if folder else None
    if path is None or not path.exists():
        return ""
    record = json.loads(path.read_text())
    if "decision" not in record:
        return ""
    outcome = record["decision"]["outcome"].replace("_", " ")
    return f"registered as models:/{record['model']}/{record['version']} ({outcome}); `moso lineage` follows it too"


def _begin(reference: str, project: Path, work: Path) -> tuple[Mapping[str, str], list[Link], Path | None]:
    """Claims to trace, links of registry, run or checkpoint, and the folder that is asked for."""
    if reference.startswith("models:/"):
        from moso.adapters.mlflow_lineage import of_version

        origin = of_version(reference)
        return origin.claims, list(origin.links), origin.folder
    folder = Path(reference)
    if not folder.exists():
        from moso.adapters.mlflow_lineage import of_run, run_id_of

        if run_id := run_id_of(reference):
            from moso.cli.lineage_checkpoints import of_unfinished

            origin = of_run(run_id, project)
            left = [of_unfinished(run_id, work)] if origin.unfinished else []
            return origin.claims, [*origin.links, *left], None
    from moso.cli.lineage_checkpoints import from_work
    from moso.lineage import roots
    from moso.provenance import FILE

    if not (folder / FILE).exists() and (found := from_work(folder)):
        return *found, folder
    return roots(folder), [], folder


def _deep(links: Sequence[Link], project: Path, raw: Path | None) -> list[Link]:
    """Every row of the episodes' manifests against its episode, decoded and hashed anew: a link an episodes' folder.

    A manifest that another one has grown from is left out: the other one has all its rows.
    """
    import pandas as pd

    from moso.lineage import Link

    rows: dict[Path, set[tuple[str, ...]]] = {}
    for link in links:
        if link.what == "episodes" and link.state == "verified" and link.folder is not None:
            table = pd.read_parquet(link.folder / "manifest.parquet")
            columns = ["episode_id", "sha256", "signals_sha256"]
            rows[link.folder] = set(table[columns].astype(str).itertuples(index=False, name=None))
    if not rows:
        return [
            Link("recordings", "", "episodes", "missing", None, "no verified episodes here whose rows could be held")
        ]
    grown = [folder for folder in rows if not any(rows[folder] < other for other in rows.values())]
    return [_decoded(folder, len(rows[folder]), project, raw) for folder in grown]


def _decoded(episodes: Path, count: int, project: Path, raw: Path | None) -> Link:
    """The rows of one manifest against their episodes' files."""
    from moso.cli.lineage_episodes import changed_episodes, raw_folder
    from moso.errors import DataError
    from moso.lineage import Link
    from moso.progress import Progress
    from moso.provenance import digest_file

    digest = digest_file(episodes / "manifest.parquet")
    try:
        root = raw or raw_folder(episodes, project)
        with Progress("hashing", count, "episodes") as progress:
            wrong = changed_episodes(episodes, root, progress.advance)
    except DataError as error:
        return Link("recordings", digest, "manifest", "missing", raw, str(error))
    if not wrong:
        note = f"{count} episodes decoded and hashed: each is its row's"
        return Link("recordings", digest, "manifest", "verified", root, note)
    shown = "; ".join(f"{name}: {fault}" for name, fault in sorted(wrong.items())[:SHOWN])
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    note = f"{len(wrong)} of {count} episodes are not their rows': {shown}{more}"
    return Link("recordings", digest, "manifest", "damaged", root, note)
