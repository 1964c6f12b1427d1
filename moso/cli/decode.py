"""`moso decode`: a token file to videos."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from moso.choices import Component
from moso.cli.interpolate import frame_numbers
from moso.cli.options import Running, Writing, examples, model_argument, running, writing


@click.command(
    epilog=examples(
        "moso decode models/sim_push clip.safetensors --output clip.mp4",
        "moso decode models/sim_push clip.safetensors --only object --only motion --output moving.gif",
        "moso decode models/sim_push clip.safetensors --frames 3 --output fourth.png",
    )
)
@model_argument
@click.argument("tokens", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--only",
    type=click.Choice(get_args(Component)),
    multiple=True,
    help="Component to draw, the others being left out; repeatable.",
)
@click.option("--frames", callback=frame_numbers, help="Numbers of the frames to draw, 0,4,8; all by default.")
@running
@writing()
def command(
    model: str,
    tokens: Path,
    only: tuple[str, ...],
    frames: list[int] | None,
    running: Running,
    writing: Writing,
) -> None:
    """Decode a token file to videos.

    TOKENS is what `moso encode` wrote, or another program in its form; MODEL must have the codebook that it was
    encoded with. OUTPUT is as for `moso predict`, at the file's frames per second where it
    says them; a .npy holds uint8 (N, frames, H, W, 3).
    """
    from moso.cli.models import load
    from moso.cli.outputs import deliver, shown
    from moso.cli.ready import ready, ready_rate
    from moso.tasks.checks import check_frame_numbers, check_names
    from moso.tasks.token_file import read_tokens

    ready(writing, [str(tokens)])
    content = read_tokens(tokens)
    loaded = load(model, running)
    tokens_of_clips = loaded.tokens_of(content)
    ready_rate(writing, content.fps)
    if frames is not None:
        check_frame_numbers("--frames", frames, loaded.clip_frames)
    if only:
        check_names("--only", only, loaded.components)
    with shown("decode", len(tokens_of_clips)) as on_progress:
        videos = loaded.decode(tokens_of_clips, frames, only=only or None, on_progress=on_progress)
    deliver(writing, videos, videos[:, None], content.fps)
