"""`moso registry`: decisions, promotion and rollback by hand, two versions held against each other."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moso.cli.options import examples
from moso.errors import MosoError

if TYPE_CHECKING:
    from moso.adapters.mlflow_decisions import DecisionLog
    from moso.registry.decision_log import Entry

ALIAS = click.option("--alias", default="champion", show_default=True, help="The alias that consumers load.")
REASON = click.option("--reason", required=True, help="Why; it stays in the log.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(
    epilog=examples(
        "moso registry history moso-sim_push",
        "moso registry promote models:/moso-sim_push/3 --reason 'measured on the robot'",
        "moso registry rollback moso-sim_push --reason 'blurs the gripper'",
        "moso registry diff models:/moso-sim_push@previous models:/moso-sim_push@champion",
    )
)
def command() -> None:
    """Show and change which version is the champion.

    The registry is the one at MLFLOW_TRACKING_URI, or the one of the current folder.
    """


@command.command("history", epilog=examples("moso registry history moso-sim_push"))
@click.argument("model")
@ALIAS
@JSON
def history(model: str, alias: str, as_json: bool) -> None:
    """Print every decision about MODEL, and whether the log is whole.

    Each decision holds the digest of the one before. Ends with status 1 where one was changed, removed or moved, or
    where an alias is not where the log left it.
    """
    import json

    from moso.adapters.mlflow_decisions import plain

    found = _log(model, alias).history()
    entries, aliases = found.chain.entries, vars(found.aliases)
    if as_json:
        told = {"model": model, "whole": not found.fault, "fault": found.fault, "aliases": aliases}
        click.echo(json.dumps({**told, "decisions": [plain(entry) for entry in entries]}, indent=2))
    else:
        for entry in entries:
            _show(entry)
        names = ", ".join(f"{name} {number or '-'}" for name, number in aliases.items())
        click.echo(f"aliases: {names}")
        last = f"; the newest is {entries[-1].digest}" if entries else ""
        click.echo(f"not whole: {found.fault}" if found.fault else f"whole: {len(entries)} decisions{last}")
    if found.fault:
        sys.exit(1)


@command.command("promote", epilog=examples("moso registry promote models:/moso-sim_push/3 --reason 'as agreed'"))
@click.argument("version")
@REASON
@ALIAS
def promote(version: str, reason: str, alias: str) -> None:
    """Make VERSION (models:/name/3 or an alias) the champion, whatever the policy says."""
    from moso.adapters.mlflow_registry import REFERENCE

    match = REFERENCE.fullmatch(version)
    if match is None:
        raise MosoError(f"{version}: write models:/<name>@<alias> or models:/<name>/<version>")
    log = _log(match["name"], alias)
    _show(log.promote(log.registry.lookup(version), reason))


@command.command("rollback", epilog=examples("moso registry rollback moso-sim_push --reason 'blurs the gripper'"))
@click.argument("model")
@REASON
@ALIAS
def rollback(model: str, reason: str, alias: str) -> None:
    """Give the champion's place back to the version before it.

    The version taken back is not promoted again by itself, however good its figures: `moso registry promote` does it.
    """
    _show(_log(model, alias).rollback(reason))


@command.command(
    "diff", epilog=examples("moso registry diff models:/moso-sim_push@previous models:/moso-sim_push@champion")
)
@click.argument("old")
@click.argument("new")
@JSON
def diff(old: str, new: str, as_json: bool) -> None:
    """Show in what two versions differ: parameters, metrics, protocol, digests."""
    import json

    registry = _registry()
    one, two = registry.described(old), registry.described(new)
    found = {
        part: {name: [one[part].get(name), two[part].get(name)] for name in sorted(one[part].keys() | two[part].keys())}
        for part in one
    }
    differ = {part: {name: pair for name, pair in pairs.items() if pair[0] != pair[1]} for part, pairs in found.items()}
    if as_json:
        click.echo(json.dumps(differ, indent=2))
        return
    for part, pairs in differ.items():
        click.echo(f"{part}: {len(pairs)} of {len(found[part])} differ" if pairs else f"{part}: the same")
        for name, pair in pairs.items():
            click.echo(f"  {name:40} {_short(pair[0])} -> {_short(pair[1])}")


def _registry() -> Any:
    from moso.adapters.mlflow_client import TrackingError, default_tracking_uri, sqlite_file
    from moso.adapters.mlflow_registry import Registry

    uri = default_tracking_uri(Path.cwd())
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        raise TrackingError(f"no registry at {uri}; set MLFLOW_TRACKING_URI or call from the project's folder")
    return Registry(uri)


def _log(model: str, alias: str) -> DecisionLog:
    from moso.adapters.mlflow_decisions import DecisionLog
    from moso.registry.decision_log import check_alias

    if not re.fullmatch(r"[\w.-]+", model):
        raise MosoError(f"{model}: write the registered model's name, moso-sim_push say")
    check_alias(alias)
    return DecisionLog(_registry(), model, alias)


def _show(entry: Entry) -> None:
    after: Mapping[str, int | None] = vars(entry.after)
    names = ", ".join(f"{name} {number}" for name, number in after.items() if number is not None)
    click.echo(f"{entry.number:4} {entry.at} {entry.digest[:12]}  version {entry.version} {entry.action}  ({names})")
    for reason in entry.reasons[:3]:
        click.echo(f"{'':44}{reason}")
    click.echo(f"{'':44}by {entry.by}")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "-" if value is None else str(value)
    return text[:16] if re.fullmatch(r"[0-9a-f]{40,64}", text) else text
