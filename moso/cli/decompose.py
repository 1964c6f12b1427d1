"""`moso decompose`: scene, object and motion, each drawn alone; or the preprocessing's own split."""

from __future__ import annotations

from typing import get_args

import click

from moso.choices import Part
from moso.cli.options import (
    Reading,
    Running,
    Writing,
    examples,
    model_argument,
    reading,
    running,
    sources_argument,
    writing,
)


@click.command(
    epilog=examples(
        "moso decompose models/sim_push seed_200001@00004 --output parts.gif",
        "moso decompose models/sim_push seed_200001 --parts object --parts object_motion --output moving.gif",
        "moso decompose models/sim_push push.mp4 --resize --thresholds 0.1 0.9 --output split.png",
        "moso decompose models/sim_push push.mp4 images/ --resize --output parts.npy",
    )
)
@model_argument
@sources_argument
@click.option(
    "--parts",
    type=click.Choice(get_args(Part)),
    multiple=True,
    help="Part to draw, repeatable; all that the model has by default.",
)
@click.option(
    "--thresholds",
    type=click.FloatRange(0, 1),
    nargs=2,
    metavar="LOW HIGH",
    help="Split the pixels themselves (Algorithm 1): a change of LOW to HIGH is object. The paper's: 0.1 0.9.",
)
@reading
@running
@writing(bare="The parts alone, without the input beside them.")
def command(
    model: str,
    sources: tuple[str, ...],
    parts: tuple[str, ...],
    thresholds: tuple[float, float] | None,
    reading: Reading,
    running: Running,
    writing: Writing,
) -> None:
    """Draw the scene, the object and the motion of videos, each alone.

    Rows of a picture, from above: the input; scene, object, motion, and object with motion, as the decoder draws them
    from their tokens alone. The decoder has never seen partial tokens in training: colours of a component alone mean
    nothing. With --thresholds: scene, object and motion (around grey) as the preprocessing splits the pixels; no
    network is used, frames may have any size. Several clips are columns, in a .png one below the other.

    MODEL and SOURCES are as for `moso predict`; T frames are taken. A .npy holds the parts in the same order, uint8
    (N, parts, T, H, W, 3).
    """
    import numpy as np

    from moso.cli.inputs import locate, take
    from moso.cli.models import load
    from moso.cli.outputs import deliver, shown
    from moso.cli.ready import ready, ready_rate
    from moso.tasks.decompose import check_parts, check_thresholds

    if parts and thresholds:
        raise click.UsageError("--parts is for what the decoder draws; --thresholds splits pixels, into all three")
    ready(writing, sources)
    if thresholds:
        check_thresholds(*thresholds)
    loaded = load(model, running)
    size = (None, None) if thresholds and not reading.resize else (loaded.height, loaded.width)
    clips, fps = take(locate(sources, reading), reading, loaded.clip_frames, *size)
    ready_rate(writing, fps)
    if thresholds:
        videos = loaded.preprocess(clips, *thresholds)
    else:
        check_parts(parts or None, loaded.components)
        with shown("decompose", len(clips)) as on_progress:
            videos = loaded.decompose(clips, parts or None, on_progress=on_progress)
    drawn = np.stack(list(videos.values()), axis=1)
    rows = drawn if writing.bare else np.concatenate([clips[:, None], drawn], axis=1)
    deliver(writing, drawn, rows, fps, panels_in_rows=True)
    click.echo(f"parts: {', '.join(videos if writing.bare or writing.output.suffix == '.npy' else ['input', *videos])}")
