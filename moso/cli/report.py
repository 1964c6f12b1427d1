"""`moso report`: pages over evaluations that have been run."""

from __future__ import annotations

from pathlib import Path

import click

from moso.cli.options import examples


@click.group(epilog=examples("moso report index reports ablations --output runs.html"))
def command() -> None:
    """Make pages of reports."""


@command.command("index", epilog=examples("moso report index reports ablations --output runs.html"))
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("index.html"),
    show_default=True,
    help="The page to write.",
)
def index(folders: tuple[Path, ...], output: Path) -> None:
    """Write one page over the reports at or below FOLDERS: a row a run, and any two side by side.

    A folder without a report is named and left out; where none has one, nothing is written.
    """
    from moso.evaluation.index_page import read_runs, render_index

    runs = read_runs(folders, lambda line: click.echo(line, err=True))
    if any((run.folder / "index.html") == output.resolve() for run in runs):
        raise click.UsageError(f"{output} is a report's own page; write the index elsewhere")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(render_index(runs, output.parent), encoding="utf-8")
    click.echo(f"{output}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}")
