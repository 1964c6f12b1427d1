"""Published figures, table by table, from published.yaml: what the source does not print is said, never guessed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moso.config import build, load_yaml
from moso.errors import ConfigError

PUBLISHED = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class PublishedTable:
    """One table.

    Attributes:
        title: in words.
        metrics: its columns, in order: psnr (dB), ssim (percent), lpips, fvd, fid, tokens, flops.
        rows: {"method": name, metric: value}; a metric that a row lacks is not in our source.
        protocol: name of the protocol file whose figures may stand beside the rows; None where none is stated.
        not_in_source: what the source lost, in words.
        notes: what a reader must know before comparing.
    """

    title: str
    metrics: tuple[str, ...]
    rows: tuple[Any, ...]
    protocol: str | None = None
    not_in_source: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            unknown = set(row) - {"method", *self.metrics}
            if "method" not in row or unknown:
                raise ConfigError("rows", row, f"must have a method and only the metrics {', '.join(self.metrics)}")
        if not self.rows and not self.not_in_source:
            raise ConfigError("rows", self.rows, "is empty", "say under not_in_source what is missing")


@functools.cache
def published_tables() -> dict[str, PublishedTable]:
    """Every table by its name."""
    return {name: build(PublishedTable, values, name) for name, values in load_yaml(PUBLISHED).items()}


def published_for(protocol: str) -> dict[str, PublishedTable]:
    """The tables whose rows were measured as the named protocol file says, by name; {} where there is none."""
    return {name: table for name, table in published_tables().items() if table.protocol == protocol}
