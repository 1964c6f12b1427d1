"""Arguments and options that the commands of a model share, each in one place.

A decorator adds its options and hands them to the command as one value:

    @click.command(epilog=examples("moso reconstruct models/sim_push push.mp4 --output out.mp4"))
    @model_argument
    @sources_argument
    @reading                # -> reading: Reading
    @running                # -> running: Running
    @writing()              # -> writing: Writing
    def command(model, sources, reading, running, writing): ...

Nothing here imports torch or numpy, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from moso.choices import SceneObject, Schedule

if TYPE_CHECKING:
    from moso.transformer.config import SamplingConfig

VIDEO_SUFFIXES = (".mp4", ".gif", ".png", ".npy")
CLIP_NUMBER = "{}"
"""In the name of an output: a file a clip, its number in this place."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Reading:
    """How sources are read."""

    cache: Path | None
    start: int
    resize: bool


@dataclass(frozen=True)
class Sampling:
    """What is drawn: the seed, and settings in place of the model's own."""

    seed: int
    steps: int | None
    temperature: float | None
    top_k: int | None
    schedule: str | None
    confidence_noise: float | None
    scene_object: str | None = None

    def over(self, own: SamplingConfig, *, steps: int | None = None) -> SamplingConfig:
        """The model's `own` settings with what was asked for in their place; `steps` of a task where none were.

        Raises:
            InputError: a value that breaks a rule of SamplingConfig.
        """
        from moso.tasks.settings import settings_over

        return settings_over(
            own,
            steps=steps if self.steps is None else self.steps,
            temperature=self.temperature,
            top_k=self.top_k,
            schedule=self.schedule,
            confidence_noise=self.confidence_noise,
            scene_object=self.scene_object,
        )


@dataclass(frozen=True)
class Running:
    """Where and how much at a time."""

    device: str
    batch: int


@dataclass(frozen=True)
class Writing:
    """Where results go."""

    output: Path
    fps: float | None = None
    bare: bool = False


model_argument = click.argument("model")
sources_argument = click.argument("sources", nargs=-1, required=True)


def _gathered(name: str, kind: type, *options: Decorator) -> Decorator:
    """`options`, handed on as one argument `name`: a `kind` of those of its fields that are among the options."""
    fields = [field.name for field in dataclasses.fields(kind)]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_options(**given: Any) -> Any:
            values = {field: given.pop(field) for field in fields if field in given}
            return function(**given, **{name: kind(**values)})

        decorated: Callable[..., Any] = with_options
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


reading = _gathered(
    "reading",
    Reading,
    click.option("--start", type=click.IntRange(min=0), default=0, show_default=True, help="First frame to take."),
    click.option("--resize", is_flag=True, help="Crop the centre to the model's shape and scale it to its size."),
    click.option(
        "--cache",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Frame cache that clip ids are looked up in; the one of data/*/frames that holds them by default.",
    ),
)

_of_all_tokens = (
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same video."),
    click.option("--steps", type=click.IntRange(min=1), help="Steps that motion tokens are drawn in."),
    click.option(
        "--temperature",
        type=click.FloatRange(min=0),
        help="Of the tokens that are drawn; 0 takes the likeliest. It touches neither scene and object tokens that are "
        "taken by argmax or from the clip, nor the noise that decides which motion tokens stay.",
    ),
    click.option("--top-k", type=click.IntRange(min=0), help="Draw among the k likeliest tokens; 0: among all."),
    click.option("--schedule", type=click.Choice(get_args(Schedule)), help="Of the masked share of motion tokens."),
    click.option(
        "--confidence-noise",
        type=click.FloatRange(min=0),
        help="Factor of the noise that decides which motion tokens stay; "
        "with --temperature 0 and --scene-object argmax, 0 makes the result independent of the seed.",
    ),
)
motion_sampling = _gathered("sampling", Sampling, *_of_all_tokens)
"""Where scene and object tokens are given and motion tokens alone are drawn."""
sampling = _gathered(
    "sampling",
    Sampling,
    *_of_all_tokens,
    click.option(
        "--scene-object",
        type=click.Choice(get_args(SceneObject)),
        help="Scene and object tokens by their distribution, or the likeliest; without it as the model was made for.",
    ),
)

running = _gathered(
    "running",
    Running,
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto: a GPU if there is one."),
    click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Clips at a time."),
)


def writing(suffixes: Sequence[str] = VIDEO_SUFFIXES, *, bare: str = "", folder: bool = False) -> Decorator:
    """--output, --fps where a video is written, and --bare where `bare` says what it leaves out.

    Args:
        suffixes: that an output may end in; another is a usage error before anything is read.
        bare: help of --bare.
        folder: an output without a suffix is a folder.
    """

    def checked(context: click.Context, parameter: click.Parameter, output: Path) -> Path:
        if output.suffix.lower() in suffixes or (folder and not output.suffix):
            if os.path.isdir(output) and output.suffix:  # unlike is_dir, no error where a name is too long
                raise click.BadParameter(f"{output} is a folder")
            return output
        also = ", or no suffix for a folder" if folder else ""
        raise click.BadParameter(f"{output} must end in {', '.join(suffixes)}{also}")

    kinds = ", ".join(suffixes) + (", or a folder" if folder else "")
    options = [
        click.option("--output", type=click.Path(path_type=Path), required=True, callback=checked, help=f"{kinds}.")
    ]
    if ".mp4" in suffixes:
        rate = click.FloatRange(min=0, min_open=True)
        options.append(click.option("--fps", type=rate, help="Frames per second; the source's by default, else 5."))
    if bare:
        options.append(click.option("--bare", is_flag=True, help=bare))
    return _gathered("writing", Writing, *options)


def examples(*lines: str) -> str:
    """The epilog that teaches by example; tests/cli runs every line of it."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
