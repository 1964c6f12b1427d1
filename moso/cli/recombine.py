"""`moso recombine`: one video's scene, another's object, a third's motion."""

from __future__ import annotations

import click

from moso.cli.options import Reading, Running, Writing, examples, model_argument, reading, running, writing


@click.command(
    epilog=examples(
        "moso recombine models/sim_push --scene seed_200001 --object seed_200002 --motion seed_200003 --output new.gif",
        "moso recombine models/sim_push --scene push.mp4 --object images/ --motion images/ --resize --output new.mp4",
    )
)
@model_argument
@click.option("--scene", help="Source of the scene.")
@click.option("--object", "object_", help="Source of the object.")
@click.option("--motion", help="Source of the motion.")
@reading
@running
@writing(bare="The new video alone, without its sources beside it.")
def command(
    model: str,
    scene: str | None,
    object_: str | None,
    motion: str | None,
    reading: Reading,
    running: Running,
    writing: Writing,
) -> None:
    """Take the scene, the object and the motion from different videos.

    Each source gives T frames (T: a clip of the model's); a .npy may hold several clips, then all three must. MODEL
    and sources are as for `moso predict`. Pictures show the sources and, last, the new video; a .npy holds the new
    video alone, uint8 (N, T, H, W, 3).
    """
    import numpy as np

    from moso.cli.inputs import locate, take
    from moso.cli.models import load
    from moso.cli.outputs import deliver, shown
    from moso.cli.ready import ready, ready_rate
    from moso.tasks.recombine import check_counts, check_sources

    named = {"scene": scene, "object": object_, "motion": motion}
    ready(writing, [source for source in named.values() if source is not None])
    loaded = load(model, running)
    missing = [f"--{name}" for name in loaded.components if named[name] is None]
    if missing:
        raise click.UsageError(f"{', '.join(missing)}: no source given")
    clips, rates = {}, []
    for name, source in named.items():
        if source is not None:
            taken = take(locate([source], reading), reading, loaded.clip_frames, loaded.height, loaded.width)
            clips[name] = taken.clips
            rates.append(taken.fps)
    check_sources({name: clips.get(name) for name in named}, loaded.components)
    count = check_counts(clips)
    fps = next((rate for rate in rates if rate), None)
    ready_rate(writing, fps)
    with shown("recombine", count) as on_progress:
        new = loaded.recombine(**clips, on_progress=on_progress)
    panels = new[:, None] if writing.bare else np.stack([*clips.values(), new], axis=1)
    deliver(writing, new, panels, fps)
