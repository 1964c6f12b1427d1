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
    from pipelines.cluster import Cluster
    from pipelines.submit import Launch, Server

FOLDER = Path(__file__).parent
COMPILED = FOLDER / "compiled"
CLUSTER = FOLDER / "cluster.yaml"
VALUES = FOLDER / "kuberay" / "values.yaml"
Command = Callable[..., None]


def _file(**options: Any) -> Any:
    return click.Path(dir_okay=False, path_type=Path, **options)


PARAMS = click.option("--params", type=_file(), default=Path("params.yaml"), show_default=True)
ON_CLUSTER = click.option("--cluster", type=_file(), default=CLUSTER, help="Default: pipelines/cluster.yaml.")


@click.group()
def command() -> None:
    """The training and the retraining pipeline on Kubeflow."""


@command.command("compile")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=COMPILED, help="A folder.")
@click.option("--check", is_flag=True, help="Write nothing; fail where a file differs.")
@ON_CLUSTER
def compile_(output: Path, check: bool, cluster: Path) -> None:
    """Write both pipelines' YAML; the same sources give the same bytes."""
    from pipelines import retraining, training
    from pipelines.cluster import load_cluster

    on = load_cluster(cluster)
    for path, text in (
        (output / "training.yaml", training.compiled(on)),
        (output / "retraining.yaml", retraining.compiled(on)),
    ):
        if check:
            if not path.exists() or path.read_text() != text:
                raise MosoError(f"{path} is out of date: run `moso pipeline compile`")
            continue
        output.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        click.echo(path)


@command.command("arguments")
@PARAMS
def arguments_(params: Path) -> None:
    """Print the pipeline's parameters as JSON: every step's resolved config."""
    from pipelines.training import arguments

    click.echo(json.dumps(arguments(load_params(params)), indent=2))


def _which(function: Command) -> Command:
    """Which pipeline, and what a retraining needs beside."""
    for option in reversed(
        (
            click.argument("pipeline", type=click.Choice(["training", "retraining"]), default="training"),
            click.option("--settings", type=_file(), help="Of a retraining. Default: pipelines/retraining.yaml."),
            click.option("--first-episodes", metavar="URI", help="Of a retraining: what ingest wrote first."),
            click.option("--first-frames", metavar="URI", help="Of a retraining: what preprocess wrote first."),
            click.option("--state", help="Of a retraining: a folder on a claim. Default: retraining/ on `work`."),
        )
    ):
        function = option(function)
    return function


@command.command("run-local")
@_which
@PARAMS
@click.option("--output", type=click.Path(path_type=Path), default=Path("local_outputs"), show_default=True)
@click.option(
    "--runner",
    type=click.Choice(["subprocess", "docker"]),
    default="subprocess",
    show_default=True,
    help="Processes of this environment, or containers of the images.",
)
def run_local_(params: Path, output: Path, runner: str, **options: Any) -> None:
    """Run the steps one after the other on this machine, through Kubeflow's local runner."""
    from pipelines import local
    from pipelines.training import arguments

    content = load_params(params)
    if options["pipeline"] == "retraining":
        state = options["state"] or str((output / "state").resolve())
        click.echo(local.run_retraining(_of_retraining(content, state, options), output, runner)["text"])
        return
    _training_alone(options)
    report = local.run_local(arguments(content), output, runner)
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
@_which
@_of_a_server
@click.option("--name", help="Of the run. Default: moso-<dataset>-<preset>[-retraining].")
@click.option("--raw-digest", help="What stands for the raw data's content: known, steps come from the cache.")
def submit_(name: str | None, raw_digest: str | None, **options: Any) -> None:
    """Create a run on a server, of the training or the retraining pipeline, with the settings of params.yaml."""
    from pipelines.submit import submit

    server, launch = _server(options), _launch(name, raw_digest, options)
    click.echo(f"run: {submit(server, launch)}")


@command.command("schedule")
@_which
@_of_a_server
@click.option("--name", help="Of the recurring run, one of a name. Default: moso-<dataset>-<preset>[-retraining].")
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

    params, cluster = load_params(options["params"]), load_cluster(options["cluster"])
    usual = f"moso-{params['dataset']}-{params['preset']}"
    common = {
        "experiment": options["experiment"] or f"moso-{params['dataset']}",
        "pipeline_root": options["pipeline_root"],
        "service_account": options["service_account"],
    }
    if options["pipeline"] == "retraining":
        return _retraining_launch(name or f"{usual}-retraining", params, cluster, options, common)
    from pipelines.submit import launch_of
    from pipelines.training import arguments

    _training_alone(options)
    ingest = resolve_all(params, SPECS)["ingest"]
    return launch_of(arguments(params), ingest, cluster, name=name or usual, raw_digest=raw_digest, **common)


def _training_alone(options: dict[str, Any]) -> None:
    for setting in ("settings", "first_episodes", "first_frames", "state"):
        if options[setting] is not None:
            raise ConfigError(f"--{setting.replace('_', '-')}", options[setting], "is for `retraining` alone")


def _retraining_launch(
    name: str, params: dict[str, Any], cluster: Cluster, options: dict[str, Any], common: dict[str, Any]
) -> Launch:
    from pipelines.retraining import launch_of

    state = options["state"]
    if state is None:
        if cluster.work is None:
            raise ConfigError("--state", None, "is missing, and cluster.yaml has no `work`", "name a folder on a claim")
        state = f"{cluster.work.path}/retraining/{params['dataset']}"
    return launch_of(_of_retraining(params, state, options), cluster, name=name, **common)


def _of_retraining(params: dict[str, Any], state: str, options: dict[str, Any]) -> dict[str, Any]:
    from pipelines.retrain_settings import DEFAULT, load_settings
    from pipelines.retraining import arguments

    first = {setting: options[setting] for setting in ("first_episodes", "first_frames")}
    for setting, value in first.items():
        if not value:
            rule = "is missing: a retraining goes on from the training pipeline's first run"
            remedy = "its page shows the addresses of what ingest and preprocess wrote"
            raise ConfigError(f"--{setting.replace('_', '-')}", None, rule, remedy)
    return arguments(params, load_settings(options["settings"] or DEFAULT), state=state, **first)
