"""`moso info`: what this installation is and what it finds, for a bug report."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

import click

PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "safetensors", "mujoco-core", "mlflow", "dvc", "kfp", "ray")


@click.command()
def command() -> None:
    """Show versions, devices and presets."""
    from moso import __version__
    from moso.config import PRESETS
    from moso.provenance import git_commit

    click.echo(f"moso        {__version__} ({git_commit()})")
    click.echo(f"python      {platform.python_version()} ({sys.executable})")
    for package in PACKAGES:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        click.echo(f"{package:11} {version}")
    click.echo(f"presets     {', '.join(sorted(path.stem for path in PRESETS.glob('*.yaml')))}")
    click.echo(f"devices     {', '.join(_devices())}")


def _devices() -> list[str]:
    import torch

    names = [f"cpu ({torch.get_num_threads()} threads)"]
    names += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return names
