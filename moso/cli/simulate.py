"""`moso simulate`: write raw episodes of the simulated arm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from moso.config import build, merge
from moso.errors import ConfigError
from moso.step import StopSignal


def parse_seeds(text: str) -> list[int]:
    """'0:640' -> 0 … 639; several ranges or single seeds are joined by commas: '0:640,100000:100048,7'.

    Raises:
        ConfigError: not of this form, or an empty range.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, colon, end = part.partition(":")
        try:
            some = range(int(first), int(end)) if colon else range(int(first), int(first) + 1)
        except ValueError:
            raise ConfigError("seeds", part, "is no range of seeds", "write FIRST:END, for example 0:640") from None
        if not some:
            raise ConfigError("seeds", part, "is empty: the end does not count itself", "write FIRST:END, FIRST < END")
        seeds.extend(some)
    return seeds


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """('camera.pan=0.2', 'height=32') -> {'camera': {'pan': 0.2}, 'height': 32}; values are read as YAML.

    Raises:
        ConfigError: a pair without '=', or a value that is no YAML.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError("set", pair, "is no setting", "write KEY=VALUE, for example camera.pan=0.2")
        try:
            nested: Any = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(
                key, value, "is no YAML value", "write a number, a word or a list such as [3, 5]"
            ) from None
        for name in reversed(key.split(".")):
            nested = {name: nested}
        settings = merge(settings, nested)
    return settings


@click.command(name="simulate")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to fill."
)
@click.option("--seeds", required=True, help="FIRST:END (END not included), or several joined by commas.")
@click.option("--workers", type=int, default=None, help="Processes; every core by default.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting, e.g. camera.pan=0.2; repeatable."
)
def command(folder: Path, seeds: str, workers: int | None, settings: tuple[str, ...]) -> None:
    """Write one raw episode a seed: a simulated arm pushes objects about in a bin.

    Episodes that are there already are kept, so a stopped run goes on where it was; a folder of other settings is
    refused. The settings and their defaults are in moso/sim/config.py and docs/sim_push.md.
    """
    from moso.sim import SimulationConfig, simulate

    config = build(SimulationConfig, parse_settings(settings))
    numbers = parse_seeds(seeds)
    stop = StopSignal()
    stop.listen()
    written = simulate(config, numbers, folder, workers=workers, stop=stop)
    click.echo(f"{folder.resolve()}: {written} episodes written, {len(set(numbers)) - written} were there")
