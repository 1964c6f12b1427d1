"""What the retraining's own tasks on Kubeflow do; each is called by its component (retraining_components.py).

They share the state folder and the lock with `moso retrain`. The lock's owner is the run: the first task takes it, the
last one lets go of it, whatever happened between. Parameters come as plain data; paths are artefacts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.main import ending
from components.promote.step import Config as Promote
from moso.config import build
from moso.frames.cache import FrameCache
from moso.provenance import write_json
from moso.retraining.lease import LeaseLost, rejoin, take
from moso.retraining.subset import write_subset
from pipelines.notify import check_address, notify
from pipelines.retrain_decide import Asked, decide, enough_to_judge
from pipelines.retrain_drift import measured_drift, stage_1_fails
from pipelines.retrain_settings import RetrainSettings
from pipelines.retrain_state import (
    PARTS,
    RESULT,
    Places,
    finish,
    lock_place,
    look,
    model_digest,
    read_json,
    registry,
    trained_on,
)

NEW, NOTHING = "new", "nothing new"
KEEP, RETRAIN = "keep", "retrain"
Paths = Mapping[str, str]
Plain = Mapping[str, Any]


def look_for_episodes(
    settings: Plain, ingest: Plain, promote: Plain, asked: str, owner: str, state: str, inputs: Paths, outputs: Paths
) -> str:
    """Take the lock; NEW and what is new, or NOTHING.

    Args:
        settings, ingest, promote: plain data of RetrainSettings and of the steps' configs.
        asked: `retrain_state.settings_digest`.
        owner: the run.
        state: the state folder, on a claim.
        inputs: known: ingest's output of the pipeline's first run.
        outputs: episodes, vqvae and transformer (the champion's), news (a file: current.json).
    """
    from components.ingest.step import Config as Ingest

    with ending("look"):
        check_address(os.environ.get("MOSO_WEBHOOK"))
        how, places = build(RetrainSettings, settings, "settings"), _places(state, known=inputs["known"])
        places.state.mkdir(parents=True, exist_ok=True)
        take(lock_place(how, places.state), 60 * how.cluster_minutes, owner=owner)
        current, nothing = look(places, how, build(Ingest, ingest, "ingest"), build(Promote, promote, "promote"), asked)
        if nothing:
            print(nothing)
            _told(places, owner, {"outcome": NOTHING, "text": nothing})
            return NOTHING
        champion = registry().download(f"models:/{current['name']}/{current['champion']}", places.state / "champions")
        _copy(places.run(current) / "episodes", outputs["episodes"])
        for part in PARTS:
            _copy(champion / part, outputs[part])
        write_json(Path(outputs["news"]), current)
        return NEW


def measure(settings: Plain, split: str, owner: str, state: str, inputs: Paths, outputs: Paths) -> str:
    """The drift and the new test set; KEEP or RETRAIN Stage I.

    Args:
        settings, owner, state: as for `look_for_episodes`.
        split: evaluate's.
        inputs: known, news, episodes, frames, tokens, vqvae and transformer (the champion's), frozen (preprocess'
            output of the first run).
        outputs: drift (a file), new_frames (the frozen ones where the new ones are too few to judge), page.
    """
    with ending("drift"):
        how, places, current = _joined(settings, owner, state, inputs)
        champion = {part: Path(inputs[part]) for part in PARTS}
        parts = {name: Path(inputs[name]) for name in ("frames", "tokens", "vqvae")}
        run = places.run(current)
        drift = measured_drift(run, current, how, trained_on(places, model_digest(champion)), parts)
        judged = enough_to_judge(Path(inputs["episodes"]), current["new"], split, how)
        if judged:
            write_subset(FrameCache.open(parts["frames"]), current["new"], Path(outputs["new_frames"]))
        else:
            _copy(Path(inputs["frozen"]), outputs["new_frames"])
        write_json(Path(outputs["drift"]), {"figures": drift, "judged": judged})
        shutil.copyfile(run / "drift.html", outputs["page"])
        return RETRAIN if stage_1_fails(drift, how) else KEEP


def judge(settings: Plain, promote: Plain, owner: str, state: str, inputs: Paths, outputs: Paths) -> None:
    """Decide, tell the registry, and end the retraining.

    Args:
        settings, promote, owner, state: as for `look_for_episodes`.
        inputs: news, drift; vqvae, transformer and tokens (the candidate's), champion_vqvae, champion_transformer; and
            of each test set <set>_candidate and <set>_champion, the reports.
        outputs: result (a file).
    """
    with ending("decide"):
        how, places, current = _joined(settings, owner, state, inputs)
        drift = json.loads(Path(inputs["drift"]).read_text())
        result = read_json(places.run(current) / RESULT)
        if not result:
            asked = Asked(current, how, build(Promote, promote, "promote"), drift["figures"])
            models = {
                "candidate": {part: Path(inputs[part]) for part in (*PARTS, "tokens")},
                "champion": {part: Path(inputs[f"champion_{part}"]) for part in PARTS},
            }
            sets = ("frozen", "new") if drift["judged"] else ("frozen",)
            reports = {name: {who: Path(inputs[f"{name}_{who}"]) for who in models} for name in sets}
            result = decide(places, asked, models, reports)
        write_json(Path(outputs["result"]), result)
        _told(places, owner, result)
        finish(places, current)


def tell(settings: Plain, owner: str, state: str, ended: str) -> None:
    """Say how the run ended, and let go of the lock. Called at the end of every run.

    Args:
        settings, owner, state: as for `look_for_episodes`.
        ended: the run's state in Kubeflow's words, for a run that did not come to a result.
    """
    with ending("tell"):
        how, places = build(RetrainSettings, settings, "settings"), _places(state)
        try:
            rejoin(lock_place(how, places.state), 60 * how.cluster_minutes, owner).release()
        except LeaseLost as error:  # another run has it, or had it from the beginning
            print(f"tell: {error}")
        told = read_json(_told_file(places, owner))
        failed = {"outcome": "failed", "text": f"the run {owner} did not come to a result ({ended}); the next goes on"}
        if told.get("outcome") != NOTHING:
            notify(told or failed)


def _places(state: str, known: str = "", frozen: str = "") -> Places:
    return Places(Path(state), Path(known), Path(frozen))


def _joined(settings: Plain, owner: str, state: str, inputs: Paths) -> tuple[RetrainSettings, Places, dict[str, Any]]:
    """Settings, places and current.json, where the run still has the lock."""
    how = build(RetrainSettings, settings, "settings")
    places = _places(state, inputs.get("known", ""), inputs.get("frozen", ""))
    rejoin(lock_place(how, places.state), 60 * how.cluster_minutes, owner)
    current: dict[str, Any] = json.loads(Path(inputs["news"]).read_text())
    return how, places, current


def _told_file(places: Places, owner: str) -> Path:
    return places.state / "told" / f"{re.sub(r'[^A-Za-z0-9-]', '_', owner)}.json"


def _told(places: Places, owner: str, result: Plain) -> None:
    path = _told_file(places, owner)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(result))


def _copy(source: Path, target: str) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)
