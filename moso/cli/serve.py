"""`moso serve`: a model as an HTTP service."""

from __future__ import annotations

from pathlib import Path

import click

from moso.cli.options import Running, examples, model_argument, running


@click.command(
    epilog=examples(
        "moso serve models:/moso-sim_push@champion",
        "moso serve models/sim_push --port 9000",
        "moso serve models/sim_push --demo --clip seed_200001@00004 --clip push.mp4",
    )
)
@model_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0: every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free one.")
@click.option(
    "--poll",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Seconds between two looks at an alias.",
)
@click.option("--max-body", type=click.IntRange(min=1), default=64, show_default=True, help="MiB of a request.")
@click.option("--max-clips", type=click.IntRange(min=1), default=64, show_default=True, help="Clips of a request.")
@click.option(
    "--max-frames",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="Frames that a request may have drawn.",
)
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True, help="From arrival to answer."
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Requests worked on at once.")
@click.option(
    "--waiting", type=click.IntRange(min=0), default=16, show_default=True, help="Requests that may wait for that."
)
@click.option("--demo", is_flag=True, help="A page for people at /demo (needs moso[demo]).")
@click.option("--clip", "clips", multiple=True, help="To choose on it: a file, a folder, or a clip's id; repeatable.")
@click.option(
    "--cache",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Frame cache that clip ids are looked up in.",
)
@running
def command(
    model: str,
    host: str,
    port: int,
    poll: float,
    max_body: int,
    max_clips: int,
    max_frames: int,
    seconds: float,
    workers: int,
    waiting: int,
    demo: bool,
    clips: tuple[str, ...],
    cache: Path | None,
    running: Running,
) -> None:
    """Serve a model over HTTP: POST /v1/predict and so on, a task an address.

    MODEL is a folder with vqvae/ and transformer/ (models/sim_push) or a registered model
    (models:/moso-sim_push@champion). A new version behind an alias is taken up while requests run.

    Arrays, images and videos in and out; docs/serving.md and /openapi.json say how, /metrics counts for Prometheus.
    There is no password: at another address than 127.0.0.1 put it behind a proxy that asks for one.
    """
    from moso.errors import MosoError
    from moso.serving.champion import Champion
    from moso.serving.limits import MIB, Limits

    try:
        import uvicorn

        from moso.serving.app import create_app
        from moso.serving.service import Service
    except ModuleNotFoundError as error:
        raise MosoError(f"serving needs {error.name}: pip install 'moso[serve]'") from None
    limits = Limits(
        body_bytes=max_body * MIB,
        clips=max_clips,
        frames=max_frames,
        seconds=seconds,
        workers=workers,
        waiting=waiting,
    )
    champion = Champion(model, running.device, running.batch, poll)
    click.echo(f"loading {model}", err=True)
    champion.load()
    service = Service(champion, limits)
    app = create_app(service)
    if demo:
        from moso.cli.inputs import locate
        from moso.cli.options import Reading
        from moso.serving.demo import add_demo

        app = add_demo(app, service, locate(clips, Reading(cache, 0, True)))
    version = "" if champion.get().version is None else f", version {champion.get().version}"
    click.echo(f"serving {model}{version}, model {champion.get().model.digest[:12]}", err=True)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="info",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(seconds) + 1,
    )
