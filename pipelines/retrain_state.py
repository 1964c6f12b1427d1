"""What retrainings know of each other: the state folder, what is new, and which retraining is going on.

    <state>/last/                   manifest.parquet, sources.parquet: what the last retraining knew
    <state>/current.json            the retraining that is going on; gone once it has ended
    <state>/runs/<id>/episodes/     its episodes; candidate.json and reports/frozen once it decides, result.json
    <state>/incoming/               what ingest wrote last

Folders and files are there whole or not at all.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.config import SPECS, resolve_all
from components.main import execute
from components.raw import raw_root
from moso.adapters.mlflow_client import default_tracking_uri
from moso.adapters.mlflow_registry import MODEL_DIGEST, Registry
from moso.config import merge, to_dict
from moso.datasets.ingest import fingerprint
from moso.datasets.manifest import Manifest
from moso.datasets.readers import reader
from moso.errors import ConfigError, DataError, StopRequested
from moso.provenance import FILE, atomic_folder, digest_json, read_provenance, write_json
from moso.retraining.lease import FolderPlace, Place
from moso.retraining.news import new_episodes, new_files
from pipelines.retrain_figures import back_to_frozen
from pipelines.retrain_settings import RetrainSettings

SIGNALS = (signal.SIGTERM, signal.SIGINT)
CURRENT, CANDIDATE, RESULT = "current.json", "candidate.json", "result.json"
KNOWN = ("manifest.parquet", "sources.parquet")
PARTS = ("vqvae", "transformer")


@dataclass(frozen=True)
class Places:
    """Where a retraining finds what it goes on from.

    Attributes:
        state: the state folder, made where missing.
        episodes: ingest's output of the pipeline's first run.
        frames: preprocess' output of it, whose test episodes are the frozen test set.
    """

    state: Path
    episodes: Path
    frames: Path

    def run(self, current: Mapping[str, Any]) -> Path:
        """The folder of a retraining."""
        return self.state / "runs" / str(current["id"])


def configs_of(params: Mapping[str, Any], settings: RetrainSettings, specs: Path = SPECS) -> dict[str, Any]:
    """Step -> config, the fine-tuning's settings laid over both training sections of params.yaml.

    Raises:
        ConfigError: a wrong setting.
    """
    over = {name: getattr(settings, name) for name in ("train_vqvae", "train_transformer")}
    return resolve_all({**params, **{name: merge(params.get(name) or {}, more) for name, more in over.items()}}, specs)


def settings_digest(settings: RetrainSettings, configs: Mapping[str, Any]) -> str:
    """Of all that decides on a retraining's outputs beside its data; where the lock lies does not."""
    asked = replace(settings, lock=None, lease_minutes=1.0, cluster_minutes=1.0)
    return digest_json(
        [to_dict(asked), {step: to_dict(config) for step, config in configs.items() if step != "ingest"}]
    )


def lock_place(settings: RetrainSettings, state: Path) -> Place:
    """Where the lock lies."""
    if settings.lock and settings.lock.startswith("s3://"):
        from moso.adapters.s3_lease import S3Place

        return S3Place(settings.lock)
    return FolderPlace(Path(settings.lock) if settings.lock else state)


def look(
    places: Places, settings: RetrainSettings, ingest: Any, promote: Any, asked: str
) -> tuple[dict[str, Any], str | None]:
    """The retraining to go on with, or to begin.

    Args:
        places: state, and the pipeline's first run.
        settings: of retraining.yaml.
        ingest, promote: these steps' configs.
        asked: `settings_digest`.

    Returns:
        Its content of current.json ("id", "champion": the version's number, "new": episode ids …) and None; or {} and
        why there is nothing to do.

    Raises:
        ConfigError: a simulated data set.
        DataError: no first run, or a manifest that did not grow.
        MosoError: no champion.
    """
    current = _begun(places, promote.alias, asked)
    if current:
        return current, None
    spec, least = ingest.spec, settings.least_episodes
    check_source(spec.source.kind)
    last = places.state / "last" if (places.state / "last").is_dir() else places.episodes
    for name in KNOWN:
        if not (last / name).is_file():
            raise DataError(
                f"{last / name} is missing; run the pipeline once (`dvc repro`), so that there is a champion"
            )
    raw = raw_root(spec, ingest.raw, work(), None)
    found = fingerprint(raw.root, reader(spec.format).sources(raw.root, spec))
    if new_files(found, pq.read_table(last / "sources.parquet").to_pandas()).empty:
        return {}, _nothing(0, least)
    incoming = places.state / "incoming" / "episodes"
    run_step("ingest", ingest, {}, {"episodes": incoming})
    new = new_episodes(Manifest.read(incoming / "manifest.parquet"), Manifest.read(last / "manifest.parquet"))
    if len(new) < least:
        return {}, _nothing(len(new), least)
    return _begin(places, promote, f"moso-{spec.name}", new, asked, last), None


def check_source(kind: str) -> None:
    """Refuse a data set that no recordings come to.

    Raises:
        ConfigError: a simulated one.
    """
    if kind == "simulate":
        rule, remedy = "a simulated data set gets no recordings", "let its source be a folder or a bucket"
        raise ConfigError("source.kind", kind, rule, remedy)


def _begun(places: Places, alias: str, asked: str) -> dict[str, Any]:
    """The retraining that was begun and has not ended; {} where there is none, or it cannot be gone on with."""
    current = read_json(places.state / CURRENT)
    if not current:
        return {}
    if current["settings"] != asked:
        why = "was begun with other settings"
    elif not (places.run(current) / RESULT).exists() and champion_moved(places, current, alias):
        # It could never end: what it compares with is not the champion, and all later ones would wait for it.
        why = f"began from version {current['champion']}, and {current['name']}@{alias} was moved since"
    else:
        return current
    _put_back(places, current, alias)
    print(f"retraining {current['id']} {why}: it is left, and a new one is begun")
    (places.state / CURRENT).unlink()
    return {}


def _put_back(places: Places, current: Mapping[str, Any], alias: str) -> None:
    """The figures that a retraining which is left, killed while it decided, may have filed of the new test set."""
    begun = read_json(places.run(current) / CANDIDATE)
    if "judged" in begun and not (places.run(current) / RESULT).exists():
        digests = {"candidate": begun["model_digest"], "champion": begun["champion_digest"]}
        reports = frozen_reports(places, current)
        back_to_frozen(registry(), current["name"], alias, digests, begun["judged"], reports)


def frozen_reports(places: Places, current: Mapping[str, Any]) -> dict[str, Path]:
    """Candidate and champion -> where their reports on the frozen test set lie once a retraining decides."""
    return {who: places.run(current) / "reports" / "frozen" / who for who in ("candidate", "champion")}


def champion_moved(places: Places, current: Mapping[str, Any], alias: str) -> str:
    """What `alias` stands for where it is neither what a retraining began from nor its own candidate; "" otherwise."""
    held = registry().by_alias(current["name"], alias)
    if held is None:
        return "nothing"
    own = read_json(places.run(current) / CANDIDATE).get("model_digest", "")
    return "" if held.number == current["champion"] or held.tags.get(MODEL_DIGEST) == own else f"version {held.number}"


def _begin(places: Places, promote: Any, usual: str, new: Any, asked: str, last: Path) -> dict[str, Any]:
    name = promote.model or usual
    champion = registry().lookup(f"models:/{name}@{promote.alias}")
    ids = [str(episode) for episode in new["episode_id"]]
    content = {"new": sorted(zip(ids, new["sha256"], strict=True)), "champion": champion.record()["model_digest"]}
    key = digest_json({**content, "settings": asked})[:16]
    current = {"id": key, "settings": asked, "name": name, "champion": champion.number, "new": ids, "since": str(last)}
    run = places.run(current)
    run.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run / "episodes", ignore_errors=True)
    os.replace(places.state / "incoming" / "episodes", run / "episodes")
    write_json(places.state / CURRENT, current)
    print(f"retraining {key}: {len(ids)} new episodes since {last}; the champion is {name} version {champion.number}")
    return current


def _nothing(found: int, least: int) -> str:
    return f"nothing new: {found} new episodes, {least} are asked for"


def finish(places: Places, current: Mapping[str, Any]) -> None:
    """What this retraining knew is what the next one goes on from; only then is it over."""
    episodes = places.run(current) / "episodes"
    with atomic_folder(places.state / "last") as folder:
        for name in KNOWN:
            shutil.copyfile(episodes / name, folder / name)
    (places.state / CURRENT).unlink(missing_ok=True)


def trained_on(places: Places, champion: str) -> set[str]:
    """Ids of the episodes that a champion knows: of the retraining that made it, else of the pipeline's first run.

    Args:
        places: state, and the pipeline's first run.
        champion: `model_digest` of its parts.
    """
    episodes = places.episodes
    for path in sorted(places.state.glob(f"runs/*/{RESULT}")):
        if read_json(path)["candidate"] == champion:
            episodes = path.parent / "episodes"
    return set(Manifest.read(episodes / "manifest.parquet").table["episode_id"])


def model_digest(model: Mapping[str, Path]) -> str:
    """Digest of a model's two parts (vqvae, transformer), as the registry files it."""
    return digest_json({part: read_provenance(model[part])["digest"] for part in PARTS})


def run_step(
    step: str, config: Any, inputs: dict[str, Path], outputs: dict[str, Path], ray: Mapping[str, Any] | None = None
) -> None:
    """Run a step, unless its output is there: it is whole, then. ingest looks at the raw files each time, and what
    promote does lies in the registry: a file says nothing of it.

    Raises:
        StopRequested: SIGTERM or SIGINT came, before the step's end or after it had last looked.
        MosoError: what the step raises.
    """
    (target,) = outputs.values()
    if step not in ("ingest", "promote") and (target / FILE).exists():
        return
    run: Callable[..., None] = importlib.import_module(f"components.{step}.step").run
    # A step listens for the signals until its process ends; this one goes on, and listens itself.
    with handlers_kept():
        execute(step, run, config, inputs, outputs, ray)
        heard = any(signal.getsignal(number) is signal.SIG_DFL for number in SIGNALS)  # see StopSignal.listen
    if heard:
        raise StopRequested(f"after {step}")


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Whatever listens inside, afterwards the signals go where they went before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def registry() -> Registry:
    """The registry of the environment, or of the current folder."""
    return Registry(default_tracking_uri(Path.cwd()))


def work() -> Path:
    """The folder of the steps' work folders."""
    return Path(os.environ.get("MOSO_WORK", ".work")).absolute()


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; {} where there is none."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
