"""`moso lineage`: where a model or a run came from, and whether all of it still lies on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moso.cli.options import examples

if TYPE_CHECKING:
    from moso.lineage import Link

# A registered version's tags that name artefacts (components/promote/step.py files them).
TAGS = {
    "transformer": "moso.transformer_digest",
    "vqvae": "moso.vqvae_digest",
    "report": "moso.report_digest",
    "frames": "moso.data_digest",
}


@click.command(
    epilog=examples(
        "moso lineage models:/moso-sim_push@champion", "moso lineage models/sim_push", "moso lineage reports"
    )
)
@click.argument("reference")
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("."),
    help="The folder with models/, data/ and reports/. [here]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the links as JSON.")
def command(reference: str, project: Path, as_json: bool) -> None:
    """Trace REFERENCE (models:/…, a model's folder or a report's) back to the episodes, verifying every digest.

    Ends with status 1 where something is missing, differs or is damaged.
    """
    import json

    from moso.config import to_dict
    from moso.lineage import trace

    links: list[Link] = []
    if reference.startswith("models:/"):
        claims, folder, links = _registered(reference)
    else:
        from moso.lineage import roots

        folder = Path(reference)
        claims = roots(folder)
    links += trace(claims, project, (folder,))
    wrong = [link for link in links if link.state != "verified"]
    if as_json:
        rows = [to_dict(link) | {"folder": str(link.folder) if link.folder else None} for link in links]
        click.echo(json.dumps(rows, indent=2))
    else:
        for link in links:
            click.echo(f"{link.what:12} {link.state:9} {link.digest[:16] or '-':16}  {link.folder or '-'}")
            click.echo(f"{'':22} {link.note} (named by: {link.needed_by})")
        names = ", ".join(f"{link.what} {link.digest[:12]} {link.state}" for link in wrong)
        click.echo(f"not whole: {names}" if wrong else f"whole: {len(links)} links, every digest verified")
    if wrong:
        sys.exit(1)


def _registered(reference: str) -> tuple[dict[str, str], Path, list[Link]]:
    """What a version's tags claim, its files as they were registered, and the links of registry and run."""
    from moso.adapters.mlflow_client import default_tracking_uri
    from moso.adapters.mlflow_registry import FILES_DIGEST, Registry, resolve
    from moso.lineage import Link

    # First: it refuses, in one line, where there is no registry, and verifies the files that it gives.
    folder = resolve(reference)
    registry = Registry(default_tracking_uri(Path.cwd()))
    version = registry.lookup(reference)
    address = f"models:/{version.name}/{version.number}"
    files = Link(
        "version", version.tags[FILES_DIGEST], "asked for", "verified", folder, f"{address}, files as registered"
    )
    told = registry.run(version)
    note = f"{version.run_id}: {told}" if told else f"run {version.run_id} is not in the registry any more"
    run = Link("run", version.run_id, address, "verified" if told else "missing", None, note)
    claims = {what: version.tags[tag] for what, tag in TAGS.items() if tag in version.tags}
    absent = [
        Link(what, "", address, "missing", None, f"the version has no tag {tag}")
        for what, tag in TAGS.items()
        if tag not in version.tags
    ]
    return claims, folder, [files, run, *absent]
