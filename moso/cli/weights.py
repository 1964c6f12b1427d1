"""`moso weights`: the pretrained networks of other people that the perceptual loss and some metrics need."""

from __future__ import annotations

import click

from moso.cli.options import examples

MB = 1_000_000


@click.group(epilog=examples("moso weights list", "moso weights fetch vgg16"))
def command() -> None:
    """List and fetch pretrained networks (VGG, AlexNet, I3D …).

    They lie in ~/.cache/moso/weights, or where the environment variable MOSO_WEIGHTS says.
    """


@command.command("list", epilog=examples("moso weights list"))
def list_() -> None:
    """Show every file, what it is for, and whether it is here."""
    from moso import pretrained

    click.echo(f"folder: {pretrained.folder()}")
    states = {None: "missing", True: "here", False: "DAMAGED"}
    for name, entry in pretrained.FILES.items():
        size = f"{entry.bytes / 1e6:6.0f} MB" if entry.bytes else "        ?"
        state = states[pretrained.is_verified(name)]
        click.echo(f"{name:11} {state:8} {size}  {entry.file}: {entry.used_for}")


@command.command("fetch", epilog=examples("moso weights fetch vgg16", "moso weights fetch alexnet i3d"))
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Fetch every file of the list.")
def fetch(names: tuple[str, ...], everything: bool) -> None:
    """Download files and check them; what is here already is left alone."""
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
        click.echo(f"{name}: {path}")
