"""`moso predict`: given frames in, predicted frames out."""

from __future__ import annotations

import click

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
        "moso predict models/sim_push reports/example.npy --output prediction.gif",
        "moso predict models/sim_push push.mp4 --start 4 --resize --output prediction.mp4",
        "moso predict models/sim_push push.mp4 images/ --resize --output prediction.png",
        "moso predict models/sim_push seed_200001@00004 --samples 4 --output samples.gif",
        "moso predict models/sim_push reports/example.npy --temperature 0.8 --top-k 20 --bare --output 'only_{}.mp4'",
    )
)
@model_argument
@sources_argument
@click.option("--samples", type=click.IntRange(min=1), help="Of each clip, side by side; sample j has seed SEED + j.")
@reading
@sampling
@running
@writing(bare="The predicted frames alone, without margins, also in pictures.")
def command(
    model: str,
    sources: tuple[str, ...],
    samples: int | None,
    reading: Reading,
    sampling: Sampling,
    running: Running,
    writing: Writing,
) -> None:
    """Predict the frames that follow the first K.

    MODEL is a folder with vqvae/ and transformer/ (models/sim_push) or a registered model
    (models:/moso-sim_push@champion).

    SOURCES are video files, folders of numbered images, .npy files (uint8 (T, H, W, 3), or (N, T, H, W, 3) for several
    clips) or clips of a data set (seed_200001@00004: episode and first frame). Of a longer one the K frames from
    --start on are taken.

    OUTPUT .mp4, .gif and .png (frames side by side, a row a clip) show the given frames, with ochre margins, and the
    predicted ones; several clips share a picture, or get a file each where the name holds {}. A .npy holds the
    predicted frames alone: uint8 (N, T-K, H, W, 3), with --samples (N, samples, T-K, H, W, 3).
    """
    from moso.cli.given import begin, show_continued
    from moso.cli.outputs import shown

    loaded, taken = begin(model, sources, reading, running, writing, given_alone=True)
    settings = sampling.over(loaded.sampling)
    with shown("predict", len(taken.clips)) as on_progress:
        predicted = loaded.predict(
            taken.clips,
            seed=sampling.seed,
            samples=samples,
            sampling=settings,
            on_progress=on_progress,
        )
    show_continued(writing, taken, predicted)
