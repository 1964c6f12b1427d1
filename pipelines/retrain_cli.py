"""`moso retrain`: look for new recordings and retrain on them. Loaded by the group moso.cli."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.retrain_settings import DEFAULT


def _file() -> click.Path:
    return click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--params", type=_file(), default=Path("params.yaml"), show_default=True)
@click.option("--settings", type=_file(), default=DEFAULT, help="Default: pipelines/retraining.yaml.")
@click.option("--specs", type=click.Path(path_type=Path), default=Path("data/specs"), show_default=True)
@click.option("--data", type=click.Path(path_type=Path), help="Of the first run's outputs. Default: data/<dataset>.")
@click.option("--state", type=click.Path(path_type=Path), help="Default: .retraining/<dataset>.")
def command(params: Path, settings: Path, specs: Path, data: Path | None, state: Path | None) -> None:
    """Retrain on the episodes that came since the last time, and promote what is better.

    With fewer than `least_episodes` new ones it says "nothing new" and ends well. What was killed goes on at the next
    call. MOSO_WEBHOOK names an address that is told how it ended.
    """
    from components.config import load_params
    from pipelines.retrain import Project, retrain
    from pipelines.retrain_decide import as_table
    from pipelines.retrain_settings import load_settings
    from pipelines.retrain_state import Places

    content = load_params(params)
    dataset = content["dataset"]
    first = data or Path("data") / dataset
    places = Places(state or Path(".retraining") / dataset, first / "episodes", first / "frames")
    result = retrain(Project(content, places, specs), load_settings(settings))
    if result["outcome"] != "nothing new":
        click.echo(as_table(result).to_string(index=False))
        click.echo(f"drift: {(Path(result['folder']) / 'drift.html').as_uri()}")
