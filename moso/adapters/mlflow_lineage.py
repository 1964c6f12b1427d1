"""What registered versions and runs in MLflow claim to be made of: digests that `moso.lineage.trace` follows on disk.

A version's tags name its parts. A run's tags name its inputs; the run of a training or an evaluation does not record
the digest of its output, which is written after it began. Its output is found by what makes two runs of a step the
same: step, inputs, code and settings, and held against the figures that the run keeps: a training's last ones against
its history.csv, a report's metrics.json.
"""

from __future__ import annotations

import csv
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moso.adapters.mlflow_client import TrackingError, default_tracking_uri, sqlite_file
from moso.adapters.mlflow_registry import FILES_DIGEST, REFERENCE, Registry, Run, Version, resolve
from moso.adapters.mlflow_tracking import flatten, key
from moso.adapters.redact import redact
from moso.errors import MosoError
from moso.lineage import Artefact, Link, artefacts
from moso.provenance import digest_file, digest_json, read_provenance

# Tags of a registered version, and of the run it was registered in, that name artefacts (components/promote/step.py).
TAGS = {
    "transformer": "moso.transformer_digest",
    "vqvae": "moso.vqvae_digest",
    "report": "moso.report_digest",
    "frames": "moso.data_digest",
}
MODEL, PARENT = "moso.model_digest", "moso.parent_version"
PARTS = ("transformer", "vqvae")  # a parent of Stage II before one of Stage I, as promote looks for it
# A step that records its run -> the kind of its output.
OUTPUTS = {"train_vqvae": "vqvae", "train_transformer": "transformer", "evaluate": "report"}
INPUT = re.compile(r"inputs?\.(?P<name>\w+)")  # moso.training.loop writes inputs.*, evaluate input.*
SHA256 = re.compile(r"[0-9a-f]{64}")
RUN = re.compile(r"(?:runs:/)?(?P<id>[0-9a-f]{32})")
FIGURES, CURVE = "metrics.json", "history.csv"


@dataclass(frozen=True)
class Origin:
    """Where a chain begins.

    Attributes:
        claims: kind -> digest, to be traced.
        links: what registry and run themselves say, in order.
        folder: of the files as they were registered; None for a run.
        unfinished: id of a run that ended without an output: what is left of it are checkpoints.
    """

    claims: Mapping[str, str]
    links: tuple[Link, ...]
    folder: Path | None = None
    unfinished: str = ""


def run_id_of(reference: str) -> str | None:
    """The id in `runs:/<id>` or a bare id of 32 hexadecimal digits; None for any other text.

    Raises:
        MosoError: runs:/ with something else behind it.
    """
    found = RUN.fullmatch(reference)
    if found is None and reference.startswith("runs:/"):
        raise MosoError(f"{reference}: write runs:/<id>, with the run's 32 hexadecimal digits")
    return found["id"] if found else None


def of_version(reference: str) -> Origin:
    """What `models:/name@alias` or `models:/name/3` was made of, with its files fetched and verified.

    Raises:
        MosoError: no registry, or no such version.
        DataError: what came is not what was registered.
    """
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
    claims, absent = _tagged(version.tags, address, "the version")
    return Origin(claims, (files, run, *_parent(registry, version, folder, address), *absent), folder)


def of_run(run_id: str, project: Path) -> Origin:
    """What a run was made of, and what it made, as far as it says and as it lies in `project`.

    Raises:
        MosoError: no tracking database here, or no such run in it.
    """
    uri = default_tracking_uri(Path.cwd())
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        raise TrackingError(f"runs:/{run_id}: no database at {redact(uri)}; set MLFLOW_TRACKING_URI, or go there")
    registry = Registry(uri)
    run = registry.recorded(run_id)
    if run is None:
        raise MosoError(f"runs:/{run_id}: no such run in {redact(uri)}")
    address = f"runs:/{run_id}"
    link = Link("run", run_id, "asked for", "verified", None, run.words)
    if MODEL in run.tags:  # of a promotion
        claims, absent = _tagged(run.tags, address, "the run")
        return Origin(claims, (link, *absent, *_model(run.tags[MODEL], claims, address)))

    inputs = {found["name"]: value for tag, value in run.tags.items() if (found := INPUT.fullmatch(tag))}
    claims = {name: value for name, value in inputs.items() if SHA256.fullmatch(value)}
    step = run.tags.get("step", "")
    lacking = [
        f"no tag {what}"
        for what, there in (
            ("step", step),
            ("inputs.<name> or input.<name> with a sha256", claims),
            ("code", _code(run)),
        )
        if not there
    ]
    if lacking:
        note = f"the run records too little to find what it made: {', '.join(lacking)}"
        return Origin(claims, (link, Link(OUTPUTS.get(step, "output"), "", address, "missing", None, note)))
    links = [link, *(_model(run.tags["model"], claims, address) if "model" in run.tags else ())]
    if step not in OUTPUTS:
        note = f"of the step {step}, whose output is not known by a run"
        return Origin(claims, (*links, Link("output", "", address, "missing", None, note)))
    if run.status != "FINISHED":
        return Origin(claims, tuple(links), unfinished=run_id)
    output, rest = _output(registry, run, step, inputs, project)
    return Origin({**output, **claims}, (*links, *rest))


def _tagged(tags: Mapping[str, str], address: str, whose: str) -> tuple[dict[str, str], list[Link]]:
    claims = {what: tags[tag] for what, tag in TAGS.items() if SHA256.fullmatch(tags.get(tag, ""))}
    absent = [
        Link(what, "", address, "missing", None, f"{whose} has no tag {tag}")
        for what, tag in TAGS.items()
        if what not in claims
    ]
    return claims, absent


def _parent(registry: Registry, version: Version, folder: Path, address: str) -> list[Link]:
    """The version that this one was fine-tuned from, held against the parent that its files name; [] without one."""
    named = REFERENCE.fullmatch(version.tags.get(PARENT, "none"))
    if named is None or not named["version"]:
        return []
    reference = named[0]
    parts = {part: read_provenance(folder / part).get("inputs", {}).get("parent") for part in PARTS}
    part, digest = next(((part, digest) for part, digest in parts.items() if digest), (PARTS[0], ""))
    if not registry.exists(named["name"], int(named["version"])):
        note = f"{reference}, from which it was fine-tuned, is not in the registry any more"
        return [Link("parent", digest, address, "missing", None, note)]
    theirs = registry.lookup(reference).tags.get(TAGS[part], "")
    if theirs != digest:
        return [Link("parent", digest, address, "differs", None, f"the {part} of {reference} is {theirs}")]
    return [
        Link("parent", digest, address, "verified", None, f"the {part} of {reference}, from which it was fine-tuned")
    ]


def _model(digest: str, claims: Mapping[str, str], address: str) -> list[Link]:
    """The model's digest, which is that of its two parts' (moso.tasks.networks)."""
    if not {"vqvae", "transformer"} <= claims.keys():
        return []
    found = digest_json({name: claims[name] for name in ("vqvae", "transformer")})
    if found == digest:
        return [Link("model", digest, address, "verified", None, "of vqvae and transformer together")]
    return [Link("model", digest, address, "differs", None, f"vqvae and transformer together are {found}")]


def _output(
    registry: Registry, run: Run, step: str, inputs: Mapping[str, str], project: Path
) -> tuple[dict[str, str], list[Link]]:
    """The claim on the run's output, and a link that says how it was found, or why not."""
    kind, address = OUTPUTS[step], f"runs:/{run.run_id}"
    of_step = [artefact for artefact in artefacts(project) if artefact.record.get("step") == step]
    ours = [artefact for artefact in of_step if not _differences(artefact, run, inputs)]
    if not ours:
        others = "; ".join(f"{a.folder} has other {', '.join(_differences(a, run, inputs))}" for a in of_step)
        note = f"the run records no digest of its {kind}, and none here is of its inputs, code and settings"
        return {}, [Link(kind, "", address, "missing", None, f"{note}: {others}" if others else note)]
    note = "found by step, inputs, code and settings: the run records no digest of it"
    told = [(artefact, *_held(registry, run, kind, artefact.folder)) for artefact in ours]
    # The run's own before one that cannot be told apart, and that before another run's.
    state = next(state for state in ("verified", "missing", "differs") if any(found == state for _, found, _ in told))
    artefact, _, held = next(one for one in told if one[1] == state)
    link = Link(f"{kind}'s run", artefact.digest, address, state, artefact.folder, f"{held}; {note}")
    return {kind: artefact.digest}, [link]


def _held(registry: Registry, run: Run, kind: str, folder: Path) -> tuple[str, str]:
    """Whether the figures in an output are those that the run keeps: a link's state, and a note."""
    name = FIGURES if kind == "report" else CURVE
    if not (folder / name).is_file():
        return "missing", f"{name} is gone from it"
    if kind == "report":
        with tempfile.TemporaryDirectory(prefix="moso-lineage-") as temporary:
            kept = registry.file_of(run.run_id, FIGURES, Path(temporary))
            if kept is None:
                return "missing", f"the run keeps no {FIGURES} to hold against the report's"
            same = digest_file(kept) == digest_file(folder / FIGURES)
        return ("verified", f"its {FIGURES} is the run's") if same else ("differs", f"its {FIGURES} is not the run's")
    with (folder / CURVE).open(newline="") as file:
        last = list(csv.DictReader(file))[-1:]
    ours = {key(name): float(text) for row in last for name, text in row.items() if text and name != "step"}
    ours = {name: value for name, value in ours.items() if math.isfinite(value)}
    shared = ours.keys() & run.metrics.keys()
    if not shared:
        return "missing", f"the run keeps none of the last figures in {CURVE}"
    # Databases round floats differently.
    other = sorted(name for name in shared if not math.isclose(ours[name], run.metrics[name], rel_tol=1e-9))
    if other:
        return "differs", f"{other[0]} ends at {ours[other[0]]:g} in {CURVE}, in the run at {run.metrics[other[0]]:g}"
    return "verified", f"{len(shared)} last figures of {CURVE} are the run's"


def _differences(artefact: Artefact, run: Run, inputs: Mapping[str, str]) -> list[str]:
    """In what an output differs from what a run says; [] where it may be the run's."""
    record = artefact.record
    settings = {name: text for name, text in flatten(record.get("config") or {}).items() if text != "{}"}
    other = [name for name, text in settings.items() if name in run.params and run.params[name] != text]
    unsaid = [name for name in settings if name not in run.params]
    found = {
        "inputs": dict(record.get("inputs") or {}) != dict(inputs),
        "code": record.get("code_digest") != _code(run),
        f"settings ({', '.join((other or unsaid)[:3])})": bool(other or unsaid),
    }
    return [what for what, differs in found.items() if differs]


def _code(run: Run) -> str:
    return run.tags.get("code", "")
