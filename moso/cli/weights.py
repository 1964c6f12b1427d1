"""`moso weights`: the pretrained networks of other people that the perceptual loss and some metrics need."""

from __future__ import annotations

import click

from moso.cli.options import examples

MB = 1_000_000


@click.group(epilog=examples("moso weights list", "moso weights fetch vgg16", "moso weights verify"))
def command() -> None:
    """List, fetch and verify pretrained networks (VGG, AlexNet, I3D …).

    They lie in ~/.cache/moso/weights, or where the environment variable MOSO_WEIGHTS says.
    """


@command.command("list", epilog=examples("moso weights list", "moso weights list --details"))
@click.option("--details", is_flag=True, help="Also addresses, sha256 and licences.")
def list_(details: bool) -> None:
    """Show every file, what it is for, and whether it is here."""
    from moso import pretrained

    click.echo(f"folder: {pretrained.folder()}")
    states = {None: "missing", True: "here", False: "DAMAGED"}
    for name, entry in pretrained.FILES.items():
        size = f"{entry.bytes / 1e6:6.0f} MB" if entry.bytes else "        ?"
        state = states[pretrained.is_verified(name)]
        click.echo(f"{name:11} {state:8} {size}  {entry.file}: {entry.used_for}")
        if details:
            click.echo(
                f"  address: {', '.join(entry.addresses)}\n  sha256:  {entry.sha256}\n  licence: {entry.licence}"
            )


@command.command("fetch", epilog=examples("moso weights fetch vgg16", "moso weights fetch alexnet i3d"))
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Fetch every file of the list.")
def fetch(names: tuple[str, ...], everything: bool) -> None:
    """Download files and check them; what is here already is left alone.

    An evaluation that lacked them is not run again by itself: DVC does not watch them.
    """
    from moso import pretrained
    from moso.progress import Progress

    if not names and not everything:
        raise click.UsageError(f"name what to fetch, or --all; known: {', '.join(pretrained.FILES)}")
    for name in pretrained.FILES if everything else names:
        entry = pretrained.known(name)
        if pretrained.is_verified(name):
            click.echo(f"{name}: here already ({pretrained.folder() / entry.file})")
            continue
        with Progress(name, (entry.bytes or 0) // MB, "MB") as progress:

            def show(done: int, whole: int | None, progress: Progress = progress) -> None:
                progress.total = (whole or done) // MB
                progress.advance(done // MB - progress.done)

            path = pretrained.fetch(name, show)
        click.echo(f"{name}: {path}\n  licence: {entry.licence}")
    click.echo(
        "`dvc repro --force --single-item evaluate` computes what was missing in a report, whose digest then changes "
        "(its protocol does not)"
    )


@command.command("verify", epilog=examples("moso weights verify", "moso weights verify i3d alexnet"))
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Compare files with their published sha256; without names, all that are here.

    Exits with 1 where one is damaged, or where one that was named is missing.
    """
    from moso import pretrained

    bad = []
    for name in names or pretrained.FILES:
        entry, verified = pretrained.known(name), pretrained.is_verified(name)
        if verified is None and not names:
            continue
        state = {None: "missing", True: "verified", False: "DAMAGED"}[verified]
        click.echo(f"{name:11} {state:8}  {entry.file}  sha256 {entry.sha256}")
        if not verified:
            bad.append(name)
    if bad:
        raise pretrained.WeightsError(
            f"not the published file in {pretrained.folder()}: {', '.join(bad)}; "
            f"get it with `moso weights fetch {' '.join(bad)}`"
        )
    if not names and not any(pretrained.is_verified(name) for name in pretrained.FILES):
        click.echo(f"none of the files is in {pretrained.folder()}")
