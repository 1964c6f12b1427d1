"""`moso predict`: given frames in, predicted frames out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np


@click.command()
@click.argument("model")
@click.argument("frames", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help=".npy, or .gif to look at."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the samples.")
@click.option("--steps", type=int, help="Sampling steps; the model's own where not given.")
@click.option("--device", default="auto", show_default=True)
def command(model: str, frames: Path, output: Path, seed: int, steps: int | None, device: str) -> None:
    """Predict the frames that follow.

    MODEL is a folder with vqvae/ and transformer/ (models/sim_push) or a registered model
    (models:/moso-sim_push@champion). FRAMES is a .npy file, uint8 (N, K, H, W, 3), such as reports/example.npy.
    """
    import dataclasses

    import numpy as np

    from moso.errors import DataError
    from moso.tasks.model import Model

    if output.suffix not in (".npy", ".gif"):
        raise click.UsageError(f"--output {output}: must end in .npy or .gif")
    loaded = Model.load(model, device)
    try:
        given = np.load(frames, allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{frames}: is no .npy file of frames ({error})") from None
    sampling = loaded.sampling if steps is None else dataclasses.replace(loaded.sampling, steps=steps)
    predicted = loaded.predict(given, seed=seed, sampling=sampling)
    if output.suffix == ".npy":
        np.save(output, predicted, allow_pickle=False)
    else:
        write_gif(output, np.concatenate([given, predicted], axis=1))
    click.echo(f"{output}: {predicted.shape[1]} frames of {predicted.shape[0]} clips")


def write_gif(path: Path, videos: np.ndarray, frames_per_second: float = 5.0) -> None:
    """Clips side by side as a moving picture that repeats.

    Args:
        path: a .gif file.
        videos: uint8 (N, T, H, W, 3).
        frames_per_second: of the picture.
    """
    import numpy as np
    from PIL import Image

    rows = np.concatenate(list(videos), axis=2)
    pictures = [Image.fromarray(frame) for frame in rows]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=1000 / frames_per_second, loop=0)
