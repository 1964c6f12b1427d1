"""`moso rollout`: any number of frames, clip after clip."""

from __future__ import annotations

from typing import get_args

import click

from moso.choices import Carry
from moso.cli.options import (
    Reading,
    Running,
    Sampling,
    Writing,
    examples,
    model_argument,
    reading,
    running,
    sampling,
    sources_argument,
    writing,
)


@click.command(
    epilog=examples(
        "moso rollout models/sim_push reports/example.npy --length 40 --output long.mp4",
        "moso rollout models/sim_push seed_200001 --length 28 --carry frames --seed 3 --output long.gif",
        "moso rollout models/sim_push push.mp4 --resize --length 25 --no-fade --output as_in_the_paper.npy",
    )
)
@model_argument
@sources_argument
@click.option("--length", type=click.IntRange(min=1), required=True, help="Frames to predict.")
@click.option(
    "--carry",
    type=click.Choice(get_args(Carry)),
    default="tokens",
    show_default=True,
    help="What a clip hands to the next: its tokens, or its last frames, decoded and encoded again.",
)
@click.option(
    "--fade/--no-fade",
    default=True,
    show_default=True,
    help="Spread what a joint between clips jumps by over two frames; the paper does not.",
)
@reading
@sampling
@running
@writing(bare="The predicted frames alone, without margins, also in pictures.")
def command(
    model: str,
    sources: tuple[str, ...],
    length: int,
    carry: Carry,
    fade: bool,
    reading: Reading,
    sampling: Sampling,
    running: Running,
    writing: Writing,
) -> None:
    """Predict any number of frames, clip after clip.

    The first clip is what `moso predict` gives; the last frames of each are the given frames of the next. MODEL,
    SOURCES and OUTPUT are as there: `moso predict --help`.
    """
    from moso.cli.given import begin, show_continued
    from moso.cli.outputs import shown

    loaded, taken = begin(model, sources, reading, running, writing, given_alone=True)
    settings = sampling.over(loaded.sampling)
    with shown("rollout", len(taken.clips)) as on_progress:
        predicted = loaded.rollout(
            taken.clips,
            length,
            carry=carry,
            fade=fade,
            seed=sampling.seed,
            sampling=settings,
            on_progress=on_progress,
        )
    show_continued(writing, taken, predicted)
