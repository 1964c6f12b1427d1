"""`moso reconstruct`: videos as their tokens tell them."""

from __future__ import annotations

import click

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
        "moso reconstruct models/sim_push seed_200001@00004 --output reconstruction.mp4",
        "moso reconstruct models/sim_push push.mp4 images/ --resize --output 'reconstruction_{}.gif'",
    )
)
@model_argument
@sources_argument
@reading
@running
@writing()
def command(model: str, sources: tuple[str, ...], reading: Reading, running: Running, writing: Writing) -> None:
    """Encode videos to tokens and decode them: what no prediction can be better than.

    MODEL, SOURCES and OUTPUT are as for `moso predict`; T frames are taken. A .npy holds uint8 (N, T, H, W, 3).
    """
    from moso.cli.given import begin
    from moso.cli.outputs import deliver, shown

    loaded, taken = begin(model, sources, reading, running, writing)
    with shown("reconstruct", len(taken.clips)) as on_progress:
        seen = loaded.reconstruct(taken.clips, on_progress=on_progress)
    deliver(writing, seen, seen[:, None], taken.fps)
