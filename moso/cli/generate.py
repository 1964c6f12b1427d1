"""`moso generate`: videos of nothing given, as many as wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from moso.cli.options import Running, Sampling, Writing, examples, model_argument, running, sampling, writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from moso.tasks.model import Model
    from moso.transformer.config import SamplingConfig


@click.command(
    epilog=examples(
        "moso generate models/unconditional --count 9 --output nine.gif",
        "moso generate models/unconditional --count 40 --output generated --format npy",
        "moso generate models/unconditional --count 3 --first 40 --seed 1 --fps 10 --output 'more_{}.mp4'",
    )
)
@model_argument
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="Videos.")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first video.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["mp4", "npy"]),
    default="mp4",
    show_default=True,
    help="Of the files in a folder: a .mp4 a video, or a .npy for 32 of them.",
)
@sampling
@running
@writing(folder=True)
def command(
    model: str, count: int, first: int, kind: str, sampling: Sampling, running: Running, writing: Writing
) -> None:
    """Generate videos of nothing given.

    MODEL must have been trained for it (train_transformer.loss.unconditional_share above 0, or no given frames).
    Video i depends on the seed and on i alone.

    OUTPUT without a suffix is a folder: videos are written into it as they are drawn, those that are there are
    skipped, so a stopped run goes on where it was (the 2,048 videos of a benchmark). A file is as for `moso predict`;
    all its videos are held in memory.
    """
    import numpy as np

    from moso.cli.models import load
    from moso.cli.outputs import deliver, shown
    from moso.cli.ready import ready

    into_folder = not writing.output.suffix
    if into_folder and first:
        raise click.UsageError("--first is for files; a folder is filled from video 0 on")
    ready(writing, suffix=f".{kind}" if into_folder else "")
    loaded = load(model, running)
    settings = sampling.over(loaded.sampling)
    if into_folder:
        _fill(loaded, count, f".{kind}", settings, sampling.seed, writing)
        return
    loaded.generate(count, first=first, seed=sampling.seed, sampling=settings)  # refuses before the bar begins
    with shown("generate", count, "video") as on_progress:
        drawing = loaded.generate(count, first=first, seed=sampling.seed, sampling=settings, on_progress=on_progress)
        videos = np.concatenate(list(drawing))
    deliver(writing, videos, videos[:, None], None)


def _fill(model: Model, count: int, suffix: str, settings: SamplingConfig, seed: int, writing: Writing) -> None:
    from moso.cli.outputs import FPS, shown
    from moso.cli.words import counted
    from moso.config import to_dict
    from moso.video.folder import VideoFolder

    model.generate(1, seed=seed, sampling=settings)  # refuses a model that cannot, before a folder is made
    identity = {"model_digest": model.digest, "seed": seed, "sampling": to_dict(settings)}
    folder = VideoFolder(writing.output, identity, suffix, writing.fps or FPS)

    def make(first: int, videos: int) -> Iterator[np.ndarray]:
        return model.generate(videos, first=first, seed=seed, sampling=settings)

    with shown("generate", len(folder.missing(count)), "video") as on_progress:
        written = folder.fill(count, make, on_progress)
    click.echo(f"{writing.output}: {counted(written, 'video')} written, {count - written} were there")
