"""`moso export`: encoder and decoder as programs of torch.export."""

from __future__ import annotations

from pathlib import Path

import click

from moso.cli.options import Running, examples, model_argument, running


@click.command(
    epilog=examples(
        "moso export models/sim_push --output exported",
        "moso export models:/moso-sim_push@champion --clips 8 --output exported",
    )
)
@model_argument
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="A folder.")
@click.option("--clips", type=click.IntRange(min=1), default=1, show_default=True, help="That a call will take.")
@running
def command(model: str, output: Path, clips: int, running: Running) -> None:
    """Export encoder and decoder with torch.export, for programs without this package.

    MODEL is a folder or a registered model. The folder OUTPUT gets encoder.pt2 (float [0,1] (B, T, 3, H, W) -> tokens
    of scene, object and motion), decoder.pt2 (tokens -> frames) and export.json; both are loaded again and compared
    with the model: equal tokens, frames within rounding.
    """
    from moso.cli.models import load
    from moso.tasks.export import export

    written = export(load(model, running), output, clips)
    click.echo(f"{written.encoder}: tokens equal to the model's")
    click.echo(f"{written.decoder}: frames differ by {written.difference:.1e} at most")
