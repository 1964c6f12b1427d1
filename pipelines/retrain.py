"""Retraining on one machine: `moso retrain`, from cron or a systemd timer. The same steps as the pipeline, called one
after the other, each with its own outputs in a folder of the retraining.

    <state>/last/                   manifest.parquet, sources.parquet: what the last retraining knew
    <state>/frozen/frames/          the frame cache whose test episodes are the frozen test set
    <state>/current.json            the retraining that is going on; gone once it has ended
    <state>/runs/<id>/              its outputs, a folder a step; result.json at the end
    <state>/champions/              models as they came from the registry

An output is there whole or not at all. So a retraining that was killed goes on with the first output that is missing,
and until its last steps nothing outside the state folder has changed: the champion is what it was.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from components.config import SPECS, resolve_all
from components.main import execute, tracker
from components.raw import raw_root
from moso.adapters.mlflow_client import default_tracking_uri
from moso.adapters.mlflow_registry import Registry
from moso.config import merge, to_dict
from moso.datasets.ingest import fingerprint
from moso.datasets.manifest import Manifest
from moso.datasets.readers import reader
from moso.errors import ConfigError, DataError, MosoError
from moso.frames.cache import FrameCache
from moso.provenance import FILE, atomic_folder, digest_json, read_provenance, write_json
from moso.registry.decide import figures
from moso.retraining.drift_page import drift_lines, render_drift_page
from moso.retraining.lease import FolderPlace, Lease, LeaseLost, Place, holding
from moso.retraining.measure import measure_drift
from moso.retraining.news import new_episodes, new_files
from moso.retraining.subset import write_subset
from moso.tokens.store import TokenStore
from moso.vqvae.model import load_vqvae
from pipelines.notify import check_address, notify
from pipelines.retrain_settings import RetrainSettings

CURRENT, RESULT = "current.json", "result.json"
KNOWN = ("manifest.parquet", "sources.parquet")


@dataclass(frozen=True)
class Project:
    """Where a retraining finds what it goes on from.

    Attributes:
        params: the content of params.yaml.
        state: the state folder.
        data: the folder of the data set's outputs (episodes/, frames/), of the pipeline's first run.
        specs: folder of <dataset>.yaml files.
    """

    params: Mapping[str, Any]
    state: Path
    data: Path
    specs: Path = SPECS

    def configs(self, settings: RetrainSettings) -> dict[str, Any]:
        """Step -> config, the fine-tuning's settings laid over both training sections."""
        over = {name: getattr(settings, name) for name in ("train_vqvae", "train_transformer")}
        params = {**self.params, **{name: merge(self.params.get(name) or {}, more) for name, more in over.items()}}
        return resolve_all(params, self.specs)


def retrain(project: Project, settings: RetrainSettings) -> dict[str, Any]:
    """Look for new episodes, and retrain on them where there are enough.

    Returns:
        "outcome" ("nothing new", "promoted", "kept", "refused"), "text" and what else result.json holds.

    Raises:
        LeaseHeld: another retraining is going on.
        MosoError: what a step raises; the next call goes on where this one ended.
    """
    check_address(os.environ.get("MOSO_WEBHOOK"))
    configs = project.configs(settings)
    project.state.mkdir(parents=True, exist_ok=True)
    with _alone(project, settings) as lease:
        current = _begun(project, settings, configs) or _look(project, settings, configs)
        if "outcome" in current:
            return current
        result = _Run(project, settings, configs, current, lease).go()
        notify(result)
        _finish(project, current)
    return result


@contextlib.contextmanager
def _alone(project: Project, settings: RetrainSettings) -> Iterator[Lease]:
    # A step that is asked to stop writes a checkpoint: whoever has the lock now goes on from it.
    stop = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    with holding(_place(project, settings), 60 * settings.lease_minutes, stop) as lease:
        yield lease


def _place(project: Project, settings: RetrainSettings) -> Place:
    if settings.lock and settings.lock.startswith("s3://"):
        from moso.adapters.s3_lease import S3Place

        return S3Place(settings.lock)
    return FolderPlace(Path(settings.lock) if settings.lock else project.state)


def _begun(project: Project, settings: RetrainSettings, configs: Mapping[str, Any]) -> dict[str, Any]:
    """The retraining that was begun and has not ended; {} where there is none, or it was begun by other settings."""
    current = _read(project.state / CURRENT)
    if current and current["settings"] != _settings_digest(settings, configs):
        print(f"retraining {current['id']} was begun with other settings: it is left, and a new one is begun")
        (project.state / CURRENT).unlink()
        return {}
    return current


def _settings_digest(settings: RetrainSettings, configs: Mapping[str, Any]) -> str:
    """Of all that decides on a retraining's outputs beside its data; where the lock lies does not."""
    asked = replace(settings, lock=None, lease_minutes=1.0)
    return digest_json(
        [to_dict(asked), {step: to_dict(config) for step, config in configs.items() if step != "ingest"}]
    )


def _look(project: Project, settings: RetrainSettings, configs: Mapping[str, Any]) -> dict[str, Any]:
    """The retraining to begin (id, champion, new episodes); or "nothing new"."""
    state, spec, least = project.state, configs["ingest"].spec, settings.least_episodes
    if spec.source.kind == "simulate":
        raise ConfigError(
            "source.kind",
            "simulate",
            "a simulated data set gets no recordings",
            "let its source be a folder or a bucket",
        )
    last = state / "last" if (state / "last").is_dir() else project.data / "episodes"
    for name in KNOWN:
        if not (last / name).is_file():
            raise DataError(
                f"{last / name} is missing; run the pipeline once (`dvc repro`), so that there is a champion"
            )
    raw = raw_root(spec, configs["ingest"].raw, _work(), None)
    found = fingerprint(raw.root, reader(spec.format).sources(raw.root, spec))
    files = new_files(found, pq.read_table(last / "sources.parquet").to_pandas())
    if files.empty:
        return _nothing(0, least)
    incoming = state / "incoming"
    _step("ingest", configs, {}, {"episodes": incoming / "episodes"})
    now = Manifest.read(incoming / "episodes" / "manifest.parquet")
    new = new_episodes(now, Manifest.read(last / "manifest.parquet"))
    if len(new) < least:
        return _nothing(len(new), least)

    name = configs["promote"].model or f"moso-{spec.name}"
    reference = f"models:/{name}@{configs['promote'].alias}"
    champion = _registry().lookup(reference)
    ids = [str(episode) for episode in new["episode_id"]]
    asked = _settings_digest(settings, configs)
    content = {"new": sorted(zip(ids, new["sha256"], strict=True)), "champion": champion.record()["model_digest"]}
    key = digest_json({**content, "settings": asked})[:16]
    current = {"id": key, "settings": asked, "name": name, "champion": champion.number, "new": ids, "since": str(last)}
    run = state / "runs" / key
    run.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run / "episodes", ignore_errors=True)
    os.replace(incoming / "episodes", run / "episodes")
    _freeze(project)
    write_json(state / CURRENT, current)
    print(f"retraining {key}: {len(ids)} new episodes since {last}; the champion is {name} version {champion.number}")
    return current


def _nothing(found: int, least: int) -> dict[str, Any]:
    text = f"nothing new: {found} new episodes, {least} are asked for"
    print(text)
    return {"outcome": "nothing new", "text": text, "new_episodes": found}


def _freeze(project: Project) -> None:
    """Keep the frame cache that the pipeline made first, as links: its test episodes are the frozen test set."""
    target = project.state / "frozen" / "frames"
    if target.is_dir():
        return
    with atomic_folder(target) as folder:
        shutil.copytree(project.data / "frames", folder, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _finish(project: Project, current: Mapping[str, Any]) -> None:
    """What this retraining knew is what the next one goes on from; only then is it over."""
    episodes = project.state / "runs" / current["id"] / "episodes"
    with atomic_folder(project.state / "last") as folder:
        for name in KNOWN:
            shutil.copyfile(episodes / name, folder / name)
    (project.state / CURRENT).unlink()


class _Run:
    """One retraining, from its episodes to the decision; every part is skipped whose output is there."""

    def __init__(
        self,
        project: Project,
        settings: RetrainSettings,
        configs: Mapping[str, Any],
        current: Mapping[str, Any],
        lease: Lease,
    ) -> None:
        self.project, self.settings, self.configs = project, settings, configs
        self.current, self.lease = current, lease
        self.folder = project.state / "runs" / current["id"]
        self.frozen = project.state / "frozen" / "frames"
        self.ray = project.params.get("ray")
        self.registry = _registry()
        reference = f"models:/{current['name']}/{current['champion']}"
        self.champion = self.registry.download(reference, project.state / "champions")

    def go(self) -> dict[str, Any]:
        """Train, measure, decide; the content of result.json."""
        done = _read(self.folder / RESULT)
        if done:
            return done
        self._step("preprocess", {"episodes": self.folder / "episodes"}, {"frames": self.folder / "frames"})
        tokens = self._extract("tokens", self.champion / "vqvae")
        drift = self._drift(tokens)
        candidate, own_tokens = self._train(tokens, drift)
        models = {"candidate": (candidate, own_tokens), "champion": (self.champion, tokens)}
        sets = self._test_sets()
        reports = {name: {who: self._evaluate(name, who, *models[who]) for who in models} for name in sets}
        result = self._decide(candidate, reports, drift)
        write_json(self.folder / RESULT, result)
        return result

    def _step(self, step: str, inputs: dict[str, Path], outputs: dict[str, Path], config: Any = None) -> None:
        if self.lease.lost:  # a signal between two steps reaches none of them
            raise LeaseLost(f"{self.lease.place.where}: another retraining has the lock; this one ends before {step}")
        _step(step, self.configs, inputs, outputs, config, self.ray)

    def _extract(self, name: str, vqvae: Path) -> Path:
        target = self.folder / name
        self._step("extract_tokens", {"frames": self.folder / "frames", "vqvae": vqvae}, {"tokens": target})
        return target

    def _drift(self, tokens: Path) -> dict[str, Any]:
        """Measured once: drift.json, drift.html, and a run of the tracker."""
        path = self.folder / "drift.json"
        found = _read(path)
        if not found:
            cache = FrameCache.open(self.folder / "frames")
            table = cache.episodes
            new = self.current["new"]
            trained = self._trained_on()
            training = [str(e) for e in table.loc[table["split"] == "train", "episode_id"] if e in trained]
            vqvae = load_vqvae(self.champion / "vqvae")
            most = self.settings.drift_episodes
            found = measure_drift(vqvae, cache, TokenStore.open(tokens), training, new, most)
            about = f"{len(new)} new episodes against the champion's {len(training)} training episodes; its Stage I"
            page = render_drift_page(f"Drift of {self.current['name']}", found, about)
            (self.folder / "drift.html").write_text(page, encoding="utf-8")
            write_json(path, found)
            records = tracker()
            records.start("drift", params={"retraining": self.current["id"]}, tags={"step": "retraining"})
            records.summary(figures(found))
            records.artifact(self.folder / "drift.html")
            records.finish()
        for line in drift_lines(found):
            print(f"drift: {line}", flush=True)
        return found

    def _trained_on(self) -> set[str]:
        """Ids of the episodes that the champion knows: of the retraining that made it, or of the pipeline's run."""
        episodes = self.project.data / "episodes"
        for run in sorted(self.folder.parent.iterdir()):
            if (run / "candidate" / "transformer" / FILE).exists() and _model(run / "candidate") == _model(
                self.champion
            ):
                episodes = run / "episodes"
        return set(Manifest.read(episodes / "manifest.parquet").table["episode_id"])

    def _train(self, tokens: Path, drift: Mapping[str, Any]) -> tuple[Path, Path]:
        """The candidate's folder with vqvae/ and transformer/, and its token store."""
        of = drift["reconstruction_psnr"]
        loss, bound = of["training"] - of["new"], self.settings.vqvae_bound_db
        model = self.folder / "candidate"
        parent: dict[str, Path] = {}
        if loss > bound:
            print(f"Stage I draws the new data {loss:.2f} dB worse than the training data (bound {bound:g}): retrained")
            inputs = {"frames": self.folder / "frames", "parent": self.champion / "vqvae"}
            self._step("train_vqvae", inputs, {"vqvae": model / "vqvae"})
            # Other codes: the champion's Stage II does not know what these tokens mean, and is trained anew.
            tokens = self._extract("own_tokens", model / "vqvae")
        else:
            print(f"Stage I stays: it draws the new data {loss:+.2f} dB worse (bound {bound:g})")
            parent = {"parent": self.champion / "transformer"}
            if not (model / "vqvae").is_dir():
                with atomic_folder(model / "vqvae") as folder:
                    shutil.copytree(self.champion / "vqvae", folder, dirs_exist_ok=True)
        self._step("train_transformer", {"tokens": tokens, **parent}, {"transformer": model / "transformer"})
        return model, tokens

    def _test_sets(self) -> dict[str, Path]:
        """Name -> frames. The new episodes' where they hold enough of the split test, and some to train on."""
        manifest = Manifest.read(self.folder / "episodes" / "manifest.parquet").table
        rows = manifest[manifest["episode_id"].isin(self.current["new"])]
        count = rows["split"].value_counts()
        test = int(count.get(self.configs["evaluate"].split, 0))
        sets = {"frozen": self.frozen}
        if test < self.settings.least_test_episodes or not count.get("train", 0):
            print(
                f"the new data has {test} test episodes (asked for: {self.settings.least_test_episodes}, and training "
                "episodes beside them): the frozen test set alone decides"
            )
            return sets
        target = self.folder / "new_frames"
        if not (target / FILE).exists():
            write_subset(FrameCache.open(self.folder / "frames"), self.current["new"], target)
        return {**sets, "new": target}

    def _evaluate(self, name: str, who: str, model: Path, tokens: Path) -> Path:
        report = self.folder / "reports" / name / who
        config = self.configs["evaluate"]
        if name == "new":  # as many clips as there are
            protocol = {key: value for key, value in config.protocol.items() if key != "videos"}
            least = {"min_clips": 1, "min_episodes": self.settings.least_test_episodes}
            config = replace(config, protocol={**protocol, "videos": None}, **least)
        frames = self.frozen if name == "frozen" else self.folder / "new_frames"
        inputs = {"frames": frames, "tokens": tokens, **{part: model / part for part in ("vqvae", "transformer")}}
        self._step("evaluate", inputs, {"report": report}, config)
        return report

    def _decide(
        self, candidate: Path, reports: Mapping[str, Mapping[str, Path]], drift: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The gate on one test set, a tolerance on the other; effects in the registry come here and nowhere else."""
        judge = self.settings.judge if self.settings.judge in reports else "frozen"
        policy = self.configs["promote"].policy
        compared = {name: {who: _figure(of[who], policy.metric) for who in of} for name, of in reports.items()}
        for name, of in compared.items():
            ours, theirs = of["candidate"], of["champion"]
            print(f"{name} test set: {policy.metric} candidate {ours:.4f}, champion {theirs:.4f}", flush=True)
        worse = self._beyond_tolerance(judge, compared)
        self._require_champion(candidate)
        if worse:
            outcome, reasons, version = "refused", worse, None
        else:
            # Under one protocol: the champion's figures on these clips are filed first.
            self._promote("champion", self.champion, reports[judge]["champion"], judge)
            record = self._promote("candidate", candidate, reports[judge]["candidate"], judge)
            outcome, reasons = record["decision"]["outcome"], list(record["decision"]["reasons"])
            version = record["version"]
            if judge != "frozen":
                # What the pipeline promotes next is measured on the frozen set: the champion's figures are, too.
                who = "candidate" if outcome == "promoted" else "champion"
                winner = candidate if who == "candidate" else self.champion
                self._promote(f"{who}_again", winner, reports["frozen"][who], "frozen")
        name, new = self.current["name"], len(self.current["new"])
        text = f"{name}: {outcome} after {new} new episodes (judged on the {judge} test set): {'; '.join(reasons)}"
        return {
            "format": "moso.retraining",
            "format_version": 1,
            "id": self.current["id"],
            "outcome": outcome,
            "reasons": reasons,
            "text": text,
            "model": name,
            "version": version,
            "champion_before": self.current["champion"],
            "judge": judge,
            "metric": policy.metric,
            "compared": compared,
            "new_episodes": new,
            "drift": drift,
            "folder": str(self.folder.absolute()),
        }

    def _beyond_tolerance(self, judge: str, compared: Mapping[str, Mapping[str, float]]) -> list[str]:
        policy, most = self.configs["promote"].policy, self.settings.tolerance_db
        found = []
        for name, of in compared.items():
            loss = (of["champion"] - of["candidate"]) * (1 if policy.higher_is_better else -1)
            if name != judge and not loss <= most:  # also catches NaN
                found.append(f"{policy.metric} on the {name} test set is worse by {loss:.4g}, {most:g} is tolerated")
        return found

    def _require_champion(self, candidate: Path) -> None:
        """Nobody has moved the alias since the retraining began; where it stands for the candidate, this run did."""
        alias = self.configs["promote"].alias
        held = self.registry.by_alias(self.current["name"], alias)
        if held is None or (
            held.number != self.current["champion"] and held.record()["model_digest"] != _model(candidate)
        ):
            now = "nothing" if held is None else held.number
            raise MosoError(
                f"models:/{self.current['name']}@{alias} was moved to {now} while a retraining went on that began from "
                f"version {self.current['champion']}; remove "
                f"{self.folder.parent.parent / CURRENT} to begin a new one from the present champion"
            )

    def _promote(self, name: str, model: Path, report: Path, judge: str) -> dict[str, Any]:
        target = self.folder / "promotions" / f"{judge}_{name}.json"
        inputs = {"vqvae": model / "vqvae", "transformer": model / "transformer", "report": report}
        self._step("promote", inputs, {"promotion": target})
        record: dict[str, Any] = json.loads(target.read_text())
        return record


def _model(folder: Path) -> str:
    """Digest of a model's two parts, as the registry files it."""
    return digest_json({part: read_provenance(folder / part)["digest"] for part in ("vqvae", "transformer")})


def _figure(report: Path, metric: str) -> float:
    values = figures(json.loads((report / "metrics.json").read_text()))
    if metric not in values:
        raise DataError(f"{report / 'metrics.json'}: no figure {metric}; it has {', '.join(sorted(values))}")
    return values[metric]


def _step(
    step: str,
    configs: Mapping[str, Any],
    inputs: dict[str, Path],
    outputs: dict[str, Path],
    config: Any = None,
    ray: Mapping[str, Any] | None = None,
) -> None:
    """Run a step, unless its output is there: it is whole, then. ingest looks at the raw files each time."""
    (target,) = outputs.values()
    if step != "ingest" and (target.is_file() or (target / FILE).exists()):
        return
    run: Callable[..., None] = importlib.import_module(f"components.{step}.step").run
    execute(step, run, config or configs[step], inputs, outputs, ray)


def _registry() -> Registry:
    return Registry(default_tracking_uri(Path.cwd()))


def _work() -> Path:
    return Path(os.environ.get("MOSO_WORK", ".work")).absolute()


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def as_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """The figures of a result as a table: test set, candidate, champion, difference."""
    rows = [(name, of["candidate"], of["champion"]) for name, of in result.get("compared", {}).items()]
    table = pd.DataFrame(rows, columns=["test set", "candidate", "champion"])
    return table.assign(difference=table["candidate"] - table["champion"])
