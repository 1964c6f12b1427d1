"""`moso info`: what this installation is and what it finds, for a bug report; and how large the presets' models are."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

import click

from moso.cli.options import examples

PACKAGES = (
    "torch", "numpy", "pandas", "pyarrow", "safetensors", "av", "pillow", "mujoco-core", "mlflow", "dvc", "kfp", "ray",
)  # fmt: skip


@click.command(
    epilog=examples("moso info", "moso info --parameters sim_push/default kth/128"),
)
@click.option("--parameters", is_flag=True, help="Count the parameters of the presets' models instead.")
@click.argument("presets", nargs=-1)
def command(parameters: bool, presets: tuple[str, ...]) -> None:
    """Show versions, devices and presets; with --parameters the sizes of PRESETS, all of them by default."""
    if parameters:
        _show_parameters(presets or _known())
        return
    if presets:
        raise click.UsageError("presets are named to count their parameters: moso info --parameters PRESET")
    from moso import __version__
    from moso.provenance import git_commit

    click.echo(f"moso        {__version__} ({git_commit()})")
    click.echo(f"python      {platform.python_version()} ({sys.executable})")
    for package in PACKAGES:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        click.echo(f"{package:11} {version}")
    click.echo(f"presets     {', '.join(_known())}")
    click.echo(f"devices     {', '.join(_devices())}")


def _known() -> tuple[str, ...]:
    from moso.config import preset_names

    return preset_names()


def _show_parameters(presets: tuple[str, ...]) -> None:
    from moso.cli.sizes import sizes

    found = {preset: sizes(preset) for preset in presets}
    click.echo(f"{'preset':22} {'VQVAE':>12} {'transformer':>12} {'T':>3} {'K':>3} {'pixels':>9} {'tokens':>7}")
    for preset, size in found.items():
        click.echo(
            f"{preset:22} {size.vqvae:12,} {size.transformer:12,} {size.frames:3} {size.given_frames:3} "
            f"{f'{size.height} x {size.width}':>9} {size.tokens:7,}"
        )


def _devices() -> list[str]:
    import torch

    names = [f"cpu ({torch.get_num_threads()} threads)"]
    names += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return names
