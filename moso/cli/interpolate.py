"""`moso interpolate`: the frames between given ones."""

from __future__ import annotations

from typing import get_args

import click

from moso.choices import TokensFrom
from moso.cli.options import (
    Reading,
    Running,
    Sampling,
    Writing,
    examples,
    model_argument,
    motion_sampling,
    reading,
    running,
    sources_argument,
    writing,
)


def frame_numbers(context: click.Context, parameter: click.Parameter, text: str | None) -> list[int] | None:
    """'0,4,8' -> [0, 4, 8]."""
    if text is None:
        return None
    try:
        return sorted({int(number) for number in text.split(",")})
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of frame numbers; write 0,4,8") from None


@click.command(
    epilog=examples(
        "moso interpolate models/sim_push seed_200001@00004 --output smooth.gif",
        "moso interpolate models/sim_push push.mp4 --resize --given 0,3 --output smooth.mp4",
        "moso interpolate models/sim_push push.mp4 --resize --sparse --fps 20 --output twice_as_many.mp4",
        "moso interpolate models/sim_push seed_200001 --tokens-from whole_clip --output as_in_the_paper.npy",
    )
)
@model_argument
@sources_argument
@click.option("--given", callback=frame_numbers, help="Numbers of the given frames (0,4,8); every second by default.")
@click.option("--sparse", is_flag=True, help="SOURCES hold the given frames alone; those between are to be made.")
@click.option(
    "--tokens-from",
    type=click.Choice(get_args(TokensFrom)),
    default="given_frames",
    show_default=True,
    help="whole_clip, as in the paper, also reads the frames that are to be found.",
)
@reading
@motion_sampling
@running
@writing(bare="Without the margins that mark given frames.")
def command(
    model: str,
    sources: tuple[str, ...],
    given: list[int] | None,
    sparse: bool,
    tokens_from: TokensFrom,
    reading: Reading,
    sampling: Sampling,
    running: Running,
    writing: Writing,
) -> None:
    """Draw the frames between given ones.

    Takes T frames of every source (T: a clip of the model's) and draws those that are not given anew, in 16 steps
    where --steps says nothing else; given frames are as their tokens tell them. Tokens are taken
    from the given frames alone, so that long gaps blur given frames too; with --tokens-from whole_clip (the paper's)
    they also see the missing frames. MODEL, SOURCES and OUTPUT are as for
    `moso predict`; a .npy holds whole clips, uint8 (N, T, H, W, 3).
    """
    import numpy as np

    from moso.cli.inputs import locate, take
    from moso.cli.models import load
    from moso.cli.outputs import deliver, shown
    from moso.cli.ready import ready, ready_rate
    from moso.tasks.checks import check_frame_numbers
    from moso.tasks.interpolate import STEPS

    if sparse and tokens_from == "whole_clip":
        raise click.UsageError("--sparse has no whole clip that tokens could be taken from")
    ready(writing, sources)
    loaded = load(model, running)
    every_second = range(0, loaded.clip_frames, 2)
    numbers = check_frame_numbers("--given", every_second if given is None else given, loaded.clip_frames)
    needed = len(numbers) if sparse else loaded.clip_frames
    clips, fps = take(locate(sources, reading), reading, needed, loaded.height, loaded.width)
    ready_rate(writing, fps)
    if sparse:
        known, clips = clips, np.zeros((len(clips), loaded.clip_frames, *clips.shape[2:]), dtype=np.uint8)
        clips[:, numbers] = known
    settings = sampling.over(loaded.sampling, steps=STEPS)
    with shown("interpolate", len(clips)) as on_progress:
        drawn = loaded.interpolate(
            clips,
            numbers,
            tokens_from=tokens_from,
            seed=sampling.seed,
            sampling=settings,
            on_progress=on_progress,
        )
    deliver(writing, drawn, drawn[:, None], fps, given=() if writing.bare else numbers)
