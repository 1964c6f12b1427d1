"""`moso pipeline`: compile the Kubeflow pipeline, run it locally. Loaded through the entry-point group moso.cli."""

from __future__ import annotations

import json
from pathlib import Path

import click

from components.config import load_params
from moso.errors import MosoError

COMPILED = Path(__file__).parent / "compiled" / "training.yaml"


@click.group()
def command() -> None:
    """The training pipeline on Kubeflow."""


@command.command("compile")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default=COMPILED, show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; fail where the file differs.")
def compile_(output: Path, check: bool) -> None:
    """Write the pipeline's YAML; the same sources give the same bytes."""
    text = compiled()
    if check:
        if not output.exists() or output.read_text() != text:
            raise MosoError(f"{output} is out of date: run `moso pipeline compile`")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    click.echo(output)


@command.command("arguments")
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def arguments_(params: Path) -> None:
    """Print the pipeline's parameters as JSON: every step's resolved config."""
    from pipelines.training import arguments

    click.echo(json.dumps(arguments(load_params(params)), indent=2))


@command.command("run-local")
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("local_outputs"), show_default=True)
def run_local_(params: Path, output: Path) -> None:
    """Run the steps one after the other in this environment, through Kubeflow's local runner."""
    from pipelines.local import run_local
    from pipelines.training import arguments

    report = run_local(arguments(load_params(params)), output)
    click.echo(f"report: {(report / 'index.html').resolve().as_uri()}")


def compiled() -> str:
    """The training pipeline as Kubeflow's YAML."""
    import tempfile

    from kfp import compiler

    from pipelines.training import training

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.yaml"
        compiler.Compiler().compile(training, str(path))
        return path.read_text()
