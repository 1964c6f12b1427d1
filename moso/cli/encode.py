"""`moso encode`: videos to a token file."""

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
        "moso encode models/sim_push seed_200001@00004 --output clip.safetensors",
        "moso encode models/sim_push push.mp4 images/ --resize --output two.safetensors",
    )
)
@model_argument
@sources_argument
@reading
@running
@writing((".safetensors",))
def command(model: str, sources: tuple[str, ...], reading: Reading, running: Running, writing: Writing) -> None:
    """Encode videos to a token file that other programs can work on.

    MODEL and SOURCES are as for `moso predict`; T frames are taken. OUTPUT is a safetensors file: scene (N, h, w),
    object (N, h, w) and motion (N, T, h, w), int64, with the digest of the codebook and the frames per second of the
    first source that says them. {} in its name makes a file a clip. `moso decode` is the way back.
    """
    from moso.cli.given import begin
    from moso.cli.outputs import files, shown
    from moso.tasks.token_file import write_tokens
    from moso.video.writing import whole

    loaded, (clips, fps) = begin(model, sources, reading, running, writing)
    with shown("encode", len(clips)) as on_progress:
        tokens = loaded.encode(clips, on_progress=on_progress)
    for path, rows in files(writing.output, len(clips)):
        some = tokens[rows]
        with whole(path) as temporary:
            write_tokens(temporary, some, loaded.vqvae.grids, loaded.codebook_digest, loaded.codebook_size, fps)
        sizes = (f"{name} {tuple(getattr(some, name).shape)}" for name in loaded.components)
        click.echo(f"{path}: {', '.join(sizes)}")
