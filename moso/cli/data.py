"""`moso data`: the data sets that this project knows, what lies where, and what is in it."""

from __future__ import annotations

from pathlib import Path

import click

from moso.cli.options import examples
from moso.cli.words import counted

MOST_ROWS = 40


@click.group(epilog=examples("moso data list", "moso data show kth", "moso data report data/sim_push/frames"))
def command() -> None:
    """Data sets: what there is, what is in it, and how to add one.

    To be called in the project's folder (the one with data/specs). docs/data.md says where each data set comes from.
    """


@command.command("list", epilog=examples("moso data list"))
def list_() -> None:
    """Show every data set with its format, licence, and where its raw files are looked for."""
    from moso.cli.data_specs import all_specs, place_of

    for name, spec in all_specs().items():
        place = place_of(spec)
        click.echo(f"{name:12} {spec.format:10} {place.state:10} {place.text}")
        click.echo(f"{'':12} {spec.title or 'no title'}; licence: {spec.licence or 'not stated'}")


@command.command(epilog=examples("moso data show sim_push"))
@click.argument("name")
def show(name: str) -> None:
    """Show one data set: what its spec says, its lists, and what the pipeline has made of it."""
    from moso.cli.data_specs import described, spec_of

    for line in described(spec_of(name)):
        click.echo(line)


@command.command("fetch-lists", epilog=examples("moso data fetch-lists", "moso data fetch-lists kth robonet"))
@click.argument("names", nargs=-1)
def fetch_lists(names: tuple[str, ...]) -> None:
    """Download the published split lists of the data sets NAMES (all by default) and check them.

    They go to ~/.cache/moso/lists, or where the environment variable MOSO_LISTS says; what is there already is kept.
    """
    from moso.cli.data_specs import all_specs, spec_of
    from moso.datasets import lists
    from moso.errors import DataError

    specs = [spec_of(name) for name in names] if names else list(all_specs().values())
    failures = []
    for spec in specs:
        if not spec.lists and names:
            click.echo(f"{spec.name}: needs no published list")
        for item in spec.lists:
            try:
                path = lists.fetch(item)
            except DataError as error:
                failures.append(str(error))
                continue
            click.echo(f"{spec.name}: {path} ({item.lines:,} lines, sha256 as stated)")
    if failures:
        raise DataError("; ".join(failures))


@command.command(
    epilog=examples(
        "moso data init my_arm --format lerobot --path ~/recordings/my_arm --camera observation.images.front",
        "moso data init clips --format videos --path s3://bucket/clips",
    )
)
@click.argument("name")
@click.option("--format", "format_", required=True, help="The reader: lerobot, videos, images, bair …")
@click.option("--path", required=True, help="Folder, archive, or s3://bucket/prefix of the raw files.")
@click.option("--camera", "cameras", multiple=True, help="A camera of the data; repeatable, or `all`.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="A setting of the reader; repeatable.")
@click.option("--endpoint", default=None, help="Address of the S3 server, where it is not Amazon's.")
@click.option("--licence", default="", help="Of the data, as the spec will say it.")
@click.option("--like", default="sim_push/default", show_default=True, help="The preset to take the settings from.")
@click.option("--force", is_flag=True, help="Replace a spec and a preset of that name.")
def init(
    name: str,
    format_: str,
    path: str,
    cameras: tuple[str, ...],
    options: tuple[str, ...],
    endpoint: str | None,
    licence: str,
    like: str,
    force: bool,
) -> None:
    """Make the data in PATH the data set NAME: writes data/specs/NAME.yaml and moso/presets/NAME/default.yaml.

    The data is looked into through its reader: frame rate, sizes, lengths, names of actions and states where the data
    says them. Splits are drawn by a seeded hash of each recording.
    """
    from moso.cli.data_init import Wanted, initialise

    wanted = Wanted(name, format_, path, cameras, options, endpoint, licence, like)
    for line in initialise(wanted, replace=force):
        click.echo(line)


@command.command(epilog=examples("moso data status my_arm"))
@click.argument("name")
def status(name: str) -> None:
    """Say which raw files are new, changed or gone since the last ingest, and what takes them up."""
    from moso.cli.data_specs import spec_of
    from moso.cli.data_status import status_of

    for line in status_of(spec_of(name)):
        click.echo(line)


@command.command(epilog=examples("moso data verify data/sim_push/frames"))
@click.argument("frames", type=click.Path(path_type=Path))
def verify(frames: Path) -> None:
    """Read every file of a frame cache (a folder, or a data set's name) and compare its checksum."""
    from moso.cli.data_specs import frames_folder
    from moso.frames.cache import FrameCache

    cache = FrameCache.open(frames_folder(frames))
    cache.verify()
    shards = counted(len(cache.index["shards"]), "shard")
    click.echo(f"{cache.folder}: whole: {counted(len(cache.episodes), 'episode')} in {shards}, every checksum is right")


@command.command(epilog=examples("moso data report data/sim_push/frames", "moso data report sim_push --out page"))
@click.argument("frames", type=click.Path(path_type=Path))
@click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder; default reports/data/NAME."
)
@click.option("--check", is_flag=True, help="Exit with 1 where one of the report's checks does not pass.")
def report(frames: Path, folder: Path | None, check: bool) -> None:
    """Write a report of a frame cache (a folder, or a data set's name): index.html to read, report.json for gates."""
    from moso.cli.data_specs import frames_folder
    from moso.errors import DataError
    from moso.evaluation.data_report import FramesFolder, SampleConfig, data_figures, render_data_page
    from moso.evaluation.data_report.strips import strips
    from moso.provenance import write_json

    opened, config = FramesFolder.open(frames_folder(frames)), SampleConfig()
    figures = data_figures(opened, config)
    page = render_data_page(figures, {split: strips(opened, split, config) for split in opened.splits})
    folder = folder or Path("reports") / "data" / str(opened.data["data_set"])
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", figures)
    temporary = folder / ".index.html.tmp"
    temporary.write_text(page)
    temporary.replace(folder / "index.html")
    click.echo(f"{folder / 'index.html'} and report.json")
    failed = [c for c in figures["checks"] if not c["ok"]]
    for c in failed:
        click.echo(f"look at {c['id']}: {c['text']}: {c['found']} (tolerated: {c['limit']})")
    if check and failed:
        raise DataError(
            f"{len(failed)} of {len(figures['checks'])} checks do not pass: {', '.join(c['id'] for c in failed)}"
        )


@command.command(epilog=examples("moso data quarantine sim_push"))
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help=f"Every row; the first {MOST_ROWS} by default.")
def quarantine(name: str, everything: bool) -> None:
    """Show the records of a data set that ingest set aside as bad: file, offset, reason."""
    from collections import Counter

    from moso.cli.data_specs import DATA
    from moso.datasets.quarantine import read_quarantine
    from moso.errors import DataError

    path = DATA / name / "episodes" / "quarantine.parquet"
    if not path.is_file():
        raise DataError(f"{path} is not there: `dvc repro ingest` writes it")
    rows = read_quarantine(path)
    if not rows:
        click.echo(f"{name}: nothing was set aside")
        return
    reasons = Counter(row.reason for row in rows)
    click.echo(f"{name}: {counted(len(rows), 'record')} set aside, {counted(len(reasons), 'reason')}")
    shown = rows if everything else rows[:MOST_ROWS]
    width = max(len(row.file) for row in shown)
    for row in shown:
        click.echo(f"{row.file:{width}}  {row.offset:>12,}  {row.reason}")
    if len(shown) < len(rows):
        click.echo(f"… and {len(rows) - len(shown)} more (--all)")
