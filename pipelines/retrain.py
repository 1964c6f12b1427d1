"""Retraining on one machine: `moso retrain`, from cron or a systemd timer. The same steps as the pipeline, called one
after the other, each with its own outputs in a folder of the retraining.

    <state>/frozen/frames/          the frame cache whose test episodes are the frozen test set
    <state>/runs/<id>/              outputs, a folder a step (and what retrain_state says)
    <state>/champions/              models as they came from the registry

An output is there whole or not at all. So a retraining that was killed goes on with the first output that is missing,
and until its last steps nothing outside the state folder has changed: the champion is what it was.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.config import SPECS
from moso.disk import link_or_copy
from moso.errors import MosoError, StopRequested
from moso.frames.cache import FrameCache
from moso.provenance import FILE, atomic_folder
from moso.retraining.lease import Lease, LeaseHeld, LeaseLost, holding
from moso.retraining.subset import write_subset
from moso.step import StopSignal
from pipelines.notify import check_address, notify
from pipelines.retrain_decide import Asked, Model, decide, enough_to_judge, evaluation_of_new
from pipelines.retrain_drift import measured_drift, stage_1_fails
from pipelines.retrain_settings import RetrainSettings
from pipelines.retrain_state import (
    PARTS,
    RESULT,
    Places,
    configs_of,
    finish,
    handlers_kept,
    lock_place,
    look,
    model_digest,
    read_json,
    registry,
    run_step,
    settings_digest,
    trained_on,
)


@dataclass(frozen=True)
class Project:
    """What a retraining is of.

    Attributes:
        params: the content of params.yaml.
        places: the state folder, and the outputs of the pipeline's first run.
        specs: folder of <dataset>.yaml files.
    """

    params: Mapping[str, Any]
    places: Places
    specs: Path = SPECS


def retrain(project: Project, settings: RetrainSettings) -> dict[str, Any]:
    """Look for new episodes, and retrain on them where there are enough. How it ended is told (`notify`).

    Returns:
        "outcome" ("nothing new", "promoted", "kept", "refused"), "text" and what else result.json holds.

    Raises:
        LeaseHeld: another retraining is going on.
        StopRequested: it was asked to stop; the next call goes on where this one ended.
        MosoError: what a step raises; likewise, once that is mended. It is told as "failed", for all later ones wait.
    """
    check_address(os.environ.get("MOSO_WEBHOOK"))
    try:
        return _retrain(project, settings)
    except (LeaseHeld, StopRequested):
        raise
    except MosoError as error:
        notify({"outcome": "failed", "text": f"{project.params.get('dataset')}: failed: {error}"})
        raise


def _retrain(project: Project, settings: RetrainSettings) -> dict[str, Any]:
    configs, places = configs_of(project.params, settings, project.specs), project.places
    places.state.mkdir(parents=True, exist_ok=True)
    with _listening() as stop, _alone(places, settings) as lease:
        current, nothing = look(
            places, settings, configs["ingest"], configs["promote"], settings_digest(settings, configs)
        )
        if nothing:
            print(nothing)
            return {"outcome": "nothing new", "text": nothing}
        places = replace(places, frames=_frozen(places))
        result = read_json(places.run(current) / RESULT)
        if not result:
            result = _Run(places, settings, configs, current, lease, stop, project.params.get("ray")).go()
        try:
            notify(result)
        finally:  # whatever became of the message, the retraining has ended
            lease.renew()
            finish(places, current)
    return result


@contextlib.contextmanager
def _listening() -> Iterator[StopSignal]:
    """A signal that SIGTERM and SIGINT raise between the steps; in a step they raise the step's own."""
    with handlers_kept():
        stop = StopSignal()
        stop.listen()
        yield stop


@contextlib.contextmanager
def _alone(places: Places, settings: RetrainSettings) -> Iterator[Lease]:
    # A step that is asked to stop writes a checkpoint: whoever has the lock now goes on from it.
    stop = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    with holding(lock_place(settings, places.state), 60 * settings.lease_minutes, stop) as lease:
        yield lease


def _frozen(places: Places) -> Path:
    """The frame cache that the pipeline made first, kept as links: its test episodes are the frozen test set."""
    target = places.state / "frozen" / "frames"
    if not target.is_dir():
        with atomic_folder(target) as folder:
            shutil.copytree(places.frames, folder, copy_function=link_or_copy, dirs_exist_ok=True)
    return target


class _Run:
    """One retraining, from its episodes to the decision; every part is skipped whose output is there."""

    def __init__(
        self,
        places: Places,
        settings: RetrainSettings,
        configs: Mapping[str, Any],
        current: Mapping[str, Any],
        lease: Lease,
        stop: StopSignal,
        ray: Mapping[str, Any] | None,
    ) -> None:
        self.places, self.settings, self.configs = places, settings, configs
        self.current, self.lease, self.stop, self.ray = current, lease, stop, ray
        self.folder = places.run(current)
        self.frames = self.folder / "frames"
        champion = registry().download(f"models:/{current['name']}/{current['champion']}", places.state / "champions")
        self.champion: Model = {part: champion / part for part in PARTS}

    def go(self) -> dict[str, Any]:
        """Train, measure, decide; the content of result.json."""
        self._step("preprocess", {"episodes": self.folder / "episodes"}, {"frames": self.frames})
        tokens = self._extract("tokens", self.champion["vqvae"])
        trained = trained_on(self.places, model_digest(self.champion))
        of = {"frames": self.frames, "tokens": tokens, "vqvae": self.champion["vqvae"]}
        drift = measured_drift(self.folder, self.current, self.settings, trained, of)
        candidate, own_tokens = self._train(tokens, anew=stage_1_fails(drift, self.settings))
        models = {"candidate": {**candidate, "tokens": own_tokens}, "champion": {**self.champion, "tokens": tokens}}
        reports = {name: {who: self._evaluate(name, who, models[who]) for who in models} for name in self._test_sets()}
        # `lost` is the thread's word: a machine that slept longer than the lease asks the place itself.
        self._may_go_on("the decision")
        self.lease.renew()
        return decide(self.places, Asked(self.current, self.settings, self.configs["promote"], drift), models, reports)

    def _may_go_on(self, before: str) -> None:
        if self.lease.lost:  # a signal between two steps reaches none of them
            raise LeaseLost(f"{self.lease.place.where}: another retraining has the lock; this one ends before {before}")
        if self.stop:
            raise StopRequested(f"before {before}")

    def _step(self, step: str, inputs: dict[str, Path], outputs: dict[str, Path], config: Any = None) -> None:
        self._may_go_on(step)
        run_step(step, config or self.configs[step], inputs, outputs, self.ray)

    def _extract(self, name: str, vqvae: Path) -> Path:
        target = self.folder / name
        self._step("extract_tokens", {"frames": self.frames, "vqvae": vqvae}, {"tokens": target})
        return target

    def _train(self, tokens: Path, *, anew: bool) -> tuple[Model, Path]:
        """The candidate, and its token store."""
        model = {part: self.folder / "candidate" / part for part in PARTS}
        parent: dict[str, Path] = {}
        if anew:
            inputs = {"frames": self.frames, "parent": self.champion["vqvae"]}
            self._step("train_vqvae", inputs, {"vqvae": model["vqvae"]})
            # Other codes: the champion's Stage II does not know what these tokens mean, and is trained anew.
            tokens = self._extract("own_tokens", model["vqvae"])
        else:
            parent = {"parent": self.champion["transformer"]}
            if not model["vqvae"].is_dir():
                with atomic_folder(model["vqvae"]) as folder:
                    shutil.copytree(self.champion["vqvae"], folder, dirs_exist_ok=True)
        self._step("train_transformer", {"tokens": tokens, **parent}, {"transformer": model["transformer"]})
        return model, tokens

    def _test_sets(self) -> list[str]:
        new, split = self.current["new"], self.configs["evaluate"].split
        if not enough_to_judge(self.folder / "episodes", new, split, self.settings):
            return ["frozen"]
        if not (self.folder / "new_frames" / FILE).exists():
            write_subset(FrameCache.open(self.frames), new, self.folder / "new_frames")
        return ["frozen", "new"]

    def _evaluate(self, name: str, who: str, model: Model) -> Path:
        report, config = self.folder / "reports" / name / who, self.configs["evaluate"]
        frames = self.places.frames
        if name == "new":
            config, frames = evaluation_of_new(config, self.settings), self.folder / "new_frames"
        self._step("evaluate", {"frames": frames, **model}, {"report": report}, config)
        return report
