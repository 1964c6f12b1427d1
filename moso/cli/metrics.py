"""`moso metrics`: the figures of a report, and the difference between two of them."""

from __future__ import annotations

from pathlib import Path

import click

from moso.cli.options import examples

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(epilog=examples("moso metrics show reports/sim_push", "moso metrics compare reports/new reports/old"))
def command() -> None:
    """Show and compare figures of reports."""


@command.command("show", epilog=examples("moso metrics show reports/sim_push"))
@click.argument("report", type=FOLDER)
def show(report: Path) -> None:
    """Show the figures of REPORT by method, and the protocol that they were measured under."""
    from moso.evaluation.per_clip import METHOD_ORDER, metric_columns, read_per_clip, read_protocol, video_means

    digest, protocol = read_protocol(report)
    table = read_per_clip(report)
    means = video_means(table).groupby("method")[metric_columns(table)].mean()
    order = [m for m in METHOD_ORDER if m in means.index] + [m for m in means.index if m not in METHOD_ORDER]
    click.echo(means.loc[order].round(4).to_string(na_rep="not computed"))
    click.echo(f"\nmean over {table['clip_id'].nunique()} clips of {table['episode_id'].nunique()} episodes")
    click.echo(f"protocol {digest}")
    for name, value in sorted(protocol.items()):
        click.echo(f"  {name}: {value}")


@command.command("compare", epilog=examples("moso metrics compare reports/new reports/old --metric psnr"))
@click.argument("a", type=FOLDER)
@click.argument("b", type=FOLDER)
@click.option("--metric", "metrics", multiple=True, help="Only this metric (may be repeated); all that both have.")
@click.option("--method", default="prediction", show_default=True, help="The method that is compared.")
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
def compare(a: Path, b: Path, metrics: tuple[str, ...], method: str, seed: int) -> None:
    """The difference A - B, clip by clip, with its bootstrap interval over episodes.

    Reports of different protocols are refused, with the fields in which they differ.
    """
    from moso.evaluation.per_clip import compare_reports

    for metric, interval in compare_reports(a, b, metrics or None, method, seed).items():
        click.echo(
            f"{metric}: A - B = {interval.mean:+.4f}, {interval.confidence:.0%} interval [{interval.low:+.4f}, "
            f"{interval.high:+.4f}], {interval.clips} clips of {interval.episodes} episodes"
        )
