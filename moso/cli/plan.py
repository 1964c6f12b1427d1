"""`moso plan`: what a preset's trainings will take, before anything starts."""

from __future__ import annotations

import click

from moso.cli.options import examples

STEPS, WITHIN_S = 2, 60
"""Real steps that are measured without being asked for, and seconds that they may take by the estimate."""


class Bytes(click.ParamType):
    """A size such as 16GiB, 800MiB or 80GB."""

    name = "size"
    UNITS = {"GiB": 2**30, "MiB": 2**20, "GB": 10**9, "MB": 10**6}  # noqa: RUF012

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        for unit, factor in self.UNITS.items():
            number = str(value).removesuffix(unit)
            if number != value:
                try:
                    return round(float(number) * factor)
                except ValueError:
                    break
        self.fail(f"{value!r} is no size; 16GiB, 800MiB or 80GB would be one", param, ctx)


@click.command(
    epilog=examples(
        "moso plan --preset sim_push/tiny",
        "moso plan --preset sim_push/tiny --batch 8 --measure 3 --set train_vqvae.training.recompute=true",
    )
)
@click.option("--preset", required=True, help="<dataset>/<preset>; `moso info` lists them.")
@click.option("--batch", type=click.IntRange(min=1), help="Of both trainings, in the place of the preset's.")
@click.option("--stage", type=click.Choice(["vqvae", "transformer"]), help="This training alone.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting, e.g. train_vqvae.training.accumulation=2; repeatable.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option("--memory", type=Bytes(), help="Plan for a device with so much free memory, such as 80GB.")
@click.option("--clips", type=click.IntRange(min=1), default=10_000, show_default=True, help="Of the token store.")
@click.option(
    "--frames", type=click.IntRange(min=1), help="Of the frame cache; by default those of the clips, in a row."
)
@click.option(
    "--measure",
    type=click.IntRange(min=0),
    help=f"Time so many real steps, on random data; 0: none. By default 2, of as much of a batch as {WITHIN_S} s allow",
)
def command(
    preset: str,
    batch: int | None,
    stage: str | None,
    settings: tuple[str, ...],
    device: str,
    memory: int | None,
    clips: int,
    frames: int | None,
    measure: int | None,
) -> None:
    """Say what the trainings of a preset will take: parameters, tokens, memory, time, disk.

    No data is read, and nothing stays of what is tried. What does not fit into the memory that is free is refused, with
    the settings that would fit: parts of the batch, recomputed activations, a smaller batch. A time is measured on real
    steps, of a part of the batch where they would take long, or estimated from the number of operations and this
    machine's speed; the plan says which.
    """
    from moso.cli.simulate import parse_settings
    from moso.device import device_of
    from moso.planning.fitting import check_fits
    from moso.planning.machine import device_memory
    from moso.planning.plan import gibibytes, measure_step, plan_stage
    from moso.planning.stages import STAGES, Experiment
    from moso.planning.text import data_lines, stage_lines

    experiment, where = Experiment.of_preset(preset, parse_settings(settings)), device_of(device)
    if batch is not None:
        experiment = experiment.with_batch(batch)
    here = device_memory(where)
    free = here if memory is None else memory
    plans = {name: plan_stage(experiment, name, where) for name in STAGES if stage in (None, name)}
    for name, plan in plans.items():
        tried = plan.batch_within(WITHIN_S, STEPS + 1) if measure is None else plan.batch  # one step warms up
        count = STEPS if measure is None else measure
        if tried and count and plan.needed <= min(size for size in (free, here, plan.needed) if size is not None):
            parts = min(tried, plan.training.accumulation)
            smaller = experiment.with_training(name, batch=tried, accumulation=parts)
            plans[name] = plan.with_step(measure_step(smaller, name, where, count), count, tried)
    click.echo(f"preset       {preset}")
    click.echo(f"device       {where}, " + ("free memory unknown" if free is None else f"{gibibytes(free)} free"))
    for line in (*data_lines(experiment, clips, frames), *stage_lines(plans, where)):
        click.echo(line)
    if free is not None:
        for name, plan in plans.items():
            check_fits(experiment, name, plan, where, free)
