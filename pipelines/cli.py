"""`moso pipeline`: the Kubeflow pipeline compiled, run here, handed to a server. Loaded by the group moso.cli.

What imports kfp (1.3 s) is imported by the command that needs it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from components.config import SPECS, load_params, resolve_all
from moso.errors import ConfigError, MosoError

if TYPE_CHECKING:
    from pipelines.submit import Launch, Server

FOLDER = Path(__file__).parent
COMPILED = FOLDER / "compiled" / "training.yaml"
CLUSTER = FOLDER / "cluster.yaml"
VALUES = FOLDER / "kuberay" / "values.yaml"
Command = Callable[..., None]


def _file(**options: Any) -> Any:
    return click.Path(dir_okay=False, path_type=Path, **options)


PARAMS = click.option("--params", type=_file(), default=Path("params.yaml"), show_default=True)
ON_CLUSTER = click.option("--cluster", type=_file(), default=CLUSTER, help="Default: pipelines/cluster.yaml.")


@click.group()
def command() -> None:
    """The training pipeline on Kubeflow."""


@command.command("compile")
@click.option("--output", type=_file(), default=COMPILED, show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; fail where the file differs.")
@ON_CLUSTER
def compile_(output: Path, check: bool, cluster: Path) -> None:
    """Write the pipeline's YAML; the same sources give the same bytes."""
    from pipelines.cluster import load_cluster
    from pipelines.training import compiled

    text = compiled(load_cluster(cluster))
    if check:
        if not output.exists() or output.read_text() != text:
            raise MosoError(f"{output} is out of date: run `moso pipeline compile`")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    click.echo(output)


@command.command("arguments")
@PARAMS
def arguments_(params: Path) -> None:
    """Print the pipeline's parameters as JSON: every step's resolved config."""
    from pipelines.training import arguments

    click.echo(json.dumps(arguments(load_params(params)), indent=2))


@command.command("run-local")
@PARAMS
@click.option("--output", type=click.Path(path_type=Path), default=Path("local_outputs"), show_default=True)
@click.option(
    "--runner",
    type=click.Choice(["subprocess", "docker"]),
    default="subprocess",
    show_default=True,
    help="Processes of this environment, or containers of the images.",
)
def run_local_(params: Path, output: Path, runner: str) -> None:
    """Run the steps one after the other on this machine, through Kubeflow's local runner."""
    from pipelines.local import run_local
    from pipelines.training import arguments

    report = run_local(arguments(load_params(params)), output, runner)
    click.echo(f"report: {(report / 'index.html').resolve().as_uri()}")


def _of_a_server(function: Command) -> Command:
    """The options that submit and schedule share: which server, and what runs there."""
    for option in reversed(
        (
            click.option("--host", envvar="KFP_HOST", show_envvar=True, help="Address of Kubeflow Pipelines."),
            click.option("--namespace", envvar="KFP_NAMESPACE", show_envvar=True, help="On a server of several users."),
            click.option("--token-file", type=_file(), help="File with the token; else KFP_TOKEN holds it."),
            PARAMS,
            ON_CLUSTER,
            click.option("--experiment", help="Default: moso-<dataset>."),
            click.option("--pipeline-root", envvar="KFP_PIPELINE_ROOT", show_envvar=True, help="s3://bucket/prefix."),
            click.option("--service-account", help="Of the pods. Default: the server's."),
        )
    ):
        function = option(function)
    return function


@command.command("submit")
@_of_a_server
@click.option("--name", help="Of the run. Default: moso-<dataset>-<preset>.")
@click.option("--raw-digest", help="What stands for the raw data's content: known, steps come from the cache.")
def submit_(name: str | None, raw_digest: str | None, **options: Any) -> None:
    """Create a run on a server, with the settings of params.yaml."""
    from pipelines.submit import submit

    server, launch = _server(options), _launch(name, raw_digest, options)
    click.echo(f"run: {submit(server, launch)}")


@command.command("schedule")
@_of_a_server
@click.option("--name", help="Of the recurring run, one of a name. Default: moso-<dataset>-<preset>.")
@click.option("--cron", required=True, help="'0 3 * * *' (minute hour day month weekday), or six fields: second first.")
def schedule_(name: str | None, cron: str, **options: Any) -> None:
    """Make a recurring run on a server, or bring the one of that name up to date."""
    from pipelines.schedule import cron_of, schedule

    expression = cron_of(cron)
    server, launch = _server(options), _launch(name, None, options)
    done = schedule(server, launch, expression)
    click.echo(f"{done.outcome}: {launch.name}, cron {expression!r} (second minute hour day month weekday)")
    click.echo(f"recurring run: {done.address}")


@command.command("kuberay")
@click.argument("kind", type=click.Choice(["cluster", "job"]))
@click.option(
    "--values", type=_file(), default=FOLDER / "kuberay" / "values.yaml", help="Default: kuberay/values.yaml."
)
def kuberay_(kind: str, values: Path) -> None:
    """Print a RayCluster, or a RayJob that trains, for `kubectl apply -f -`."""
    from pipelines.ray_manifests import render

    click.echo(render(kind, values), nl=False)


def _server(options: dict[str, Any]) -> Server:
    from pipelines.submit import Server

    path: Path | None = options["token_file"]
    if path is not None and not path.is_file():
        raise ConfigError("--token-file", str(path), "there is no such file", "name the file that holds the token")
    token = path.read_text() if path else os.environ.get("KFP_TOKEN")
    return Server.of(options["host"], options["namespace"], token)


def _launch(name: str | None, raw_digest: str | None, options: dict[str, Any]) -> Launch:
    from pipelines.cluster import load_cluster
    from pipelines.submit import launch_of
    from pipelines.training import arguments

    params = load_params(options["params"])
    return launch_of(
        arguments(params),
        resolve_all(params, SPECS)["ingest"],
        load_cluster(options["cluster"]),
        name=name or f"moso-{params['dataset']}-{params['preset']}",
        experiment=options["experiment"] or f"moso-{params['dataset']}",
        raw_digest=raw_digest,
        pipeline_root=options["pipeline_root"],
        service_account=options["service_account"],
    )
