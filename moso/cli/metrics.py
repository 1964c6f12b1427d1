"""`moso metrics`: the figures of a report, its table in the paper's layout, and the difference between two reports."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from moso.cli.options import examples

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OF_A_SET = ("fvd", "fid")
NO_VALUE_A_CLIP = "is of all videos at once and has no value a clip: it is not part of the test"


@click.group(
    epilog=examples(
        "moso metrics show reports", "moso metrics table reports", "moso metrics compare reports/new reports/old"
    )
)
def command() -> None:
    """Show and compare figures of reports."""


@command.command("show", epilog=examples("moso metrics show reports"))
@click.argument("report", type=FOLDER)
def show(report: Path) -> None:
    """Show the figures of REPORT by method, what was not computed, and the protocol that they were measured under."""
    import pandas as pd

    from moso.config import flat
    from moso.evaluation.metrics import heading
    from moso.evaluation.per_clip import method_figures, read_figures

    figures = read_figures(report)
    protocol = figures["protocol"]
    if name := figures.get("protocol_name"):
        click.echo(f"{name}\n")
    table = pd.DataFrame.from_dict(method_figures(figures), orient="index").rename(columns=heading)
    click.echo(table.round(4).to_string(na_rep="") if len(table) else "no figures")
    if "clips" in protocol:
        drawn = f"{protocol['videos_drawn']} videos drawn beside " if protocol.get("videos_drawn") else "over "
        click.echo(
            f"\n{drawn}{protocol['clips']} clips of {protocol.get('episodes', '?')} episodes; SSIM as a fraction"
        )
    for baseline, of_metric in figures.get("margins", {}).items():
        parts = (f"{heading(m)} {i['mean']:+.4f} [{i['low']:+.4f}, {i['high']:+.4f}]" for m, i in of_metric.items())
        click.echo(f"{baseline.replace('_', ' ')}: {', '.join(parts)}")
    for metric, found in figures.get("frechet", {}).items():
        click.echo(f"{heading(metric)}: {_frechet(found)}")
    for entry in figures.get("not_computed", ()):
        how = f"; get it with: {entry['command']}" if entry["command"] else ""
        click.echo(f"{heading(entry['metric'])} not computed: {entry['reason']}{how}")
    click.echo(f"\nprotocol {figures['protocol_digest']}")
    for field, value in sorted(flat(protocol).items()):
        click.echo(f"  {field}: {value}")


@command.command("table", epilog=examples("moso metrics table reports", "moso metrics table reports --csv table.csv"))
@click.argument("report", type=FOLDER)
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Also write the table to this file.")
def table(report: Path, csv: Path | None) -> None:
    """Print the table of REPORT in the paper's layout: its figures beside the published ones of the same protocol."""
    from moso.errors import DataError

    for name in ("table.md", "table.csv"):
        if not (report / name).is_file():
            raise DataError(f"{report}: {name} is missing; rerun the step evaluate")
    click.echo((report / "table.md").read_text(encoding="utf-8").rstrip())
    if csv is not None:
        shutil.copyfile(report / "table.csv", csv)
        click.echo(f"\n{csv}")


@command.command("compare", epilog=examples("moso metrics compare reports/new reports/old --metric psnr"))
@click.argument("a", type=FOLDER)
@click.argument("b", type=FOLDER)
@click.option("--metric", "metrics", multiple=True, help="Only this metric (may be repeated); all that both have.")
@click.option("--method", help="The method that is compared; by default what the protocol measures.")
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
def compare(a: Path, b: Path, metrics: tuple[str, ...], method: str | None, seed: int) -> None:
    """The difference A - B, clip by clip, with its bootstrap interval over episodes.

    Reports of different protocols are refused, with the fields in which they differ. Beside the interval stands the
    smallest true difference that so many clips would show in four of five test sets (80% power): a smaller one may be
    there unseen. FVD and FID are of all videos at once: they have no value a clip and are not part of the test.
    """
    from moso.errors import ConfigError
    from moso.evaluation.metrics import heading, higher_is_better
    from moso.evaluation.per_clip import compare_reports

    for metric in metrics:
        if metric in OF_A_SET:
            raise ConfigError("metric", metric, NO_VALUE_A_CLIP, "see each report's with `moso metrics show`")
    for metric, interval in compare_reports(a, b, metrics or None, method, seed).items():
        better = "higher" if higher_is_better(metric) else "lower"
        click.echo(
            f"{heading(metric)} ({better} is better): A - B = {interval.mean:+.4f}, {interval.confidence:.0%} interval "
            f"[{interval.low:+.4f}, {interval.high:+.4f}], {interval.clips} clips of {interval.episodes} episodes; "
            f"detectable at 80% power: {interval.detectable():.4f}"
        )
    if not metrics:
        for line in _of_sets(a, b):
            click.echo(line)


def _of_sets(a: Path, b: Path) -> list[str]:
    """What two reports say in figures that no test over clips can take in: each as it is, without an interval."""
    from moso.evaluation.metrics import heading
    from moso.evaluation.per_clip import read_figures

    left, right = (read_figures(report).get("frechet", {}) for report in (a, b))
    lines = []
    for metric in OF_A_SET:
        if metric in left and metric in right:
            x, y = left[metric]["value"], right[metric]["value"]
            lines.append(
                f"{heading(metric)} (lower is better): A {x:.2f}, B {y:.2f}, A - B = {x - y:+.2f}, no interval"
            )
    names = " and ".join(heading(metric) for metric in OF_A_SET)
    return [*lines, f"{names} are of all videos at once and have no value a clip: they are not part of this test"]


def _frechet(found: Mapping[str, Any]) -> str:
    """A Fréchet distance with what it rests on."""
    extrapolated = found.get("extrapolated")
    beyond = f"none ({found.get('reason')})" if extrapolated is None else f"{extrapolated:.2f}"
    left_out = f", {found['left_out']} left out" if found.get("left_out") else ""
    return (
        f"{found['value']:.2f}, {found['drawn']} drawn against {found['reference']} true ones{left_out}; "
        f"extrapolated to infinitely many: {beyond}"
    )
