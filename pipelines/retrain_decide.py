"""The end of a retraining: both models on both test sets, a tolerance, the gate, and what the registry is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from moso.adapters.mlflow_registry import MODEL_DIGEST
from moso.datasets.manifest import Manifest
from moso.errors import DataError, MosoError
from moso.provenance import atomic_folder, write_json
from moso.registry.decide import figures
from pipelines.retrain_figures import back_to_frozen, with_digests
from pipelines.retrain_settings import RetrainSettings
from pipelines.retrain_state import (
    CANDIDATE,
    PARTS,
    RESULT,
    Places,
    champion_moved,
    frozen_reports,
    model_digest,
    read_json,
    registry,
    run_step,
)

Model = Mapping[str, Path]
"""vqvae and transformer, the folders that the trainings wrote, and tokens. A candidate's are those that its Stage II
was trained on; a champion's, where it has any, were extracted anew."""
Reports = Mapping[str, Mapping[str, Path]]
"""Test set (frozen, new) -> candidate and champion -> the folder that evaluate wrote."""


@dataclass(frozen=True)
class Asked:
    """What a decision is about.

    Attributes:
        current: the content of current.json.
        settings: of retraining.yaml.
        promote: the step's config.
        drift: `moso.retraining.measure`'s figures, for the result.
    """

    current: Mapping[str, Any]
    settings: RetrainSettings
    promote: Any
    drift: Mapping[str, Any]


def enough_to_judge(episodes: Path, new: list[str], split: str, settings: RetrainSettings) -> bool:
    """Whether the new episodes hold enough of the split `split`, and some to train on; where not, it is said."""
    table = Manifest.read(episodes / "manifest.parquet").table
    count = table[table["episode_id"].isin(new)]["split"].value_counts()
    test = int(count.get(split, 0))
    if test >= settings.least_test_episodes and count.get("train", 0):
        return True
    print(
        f"the new data has {test} test episodes (asked for: {settings.least_test_episodes}, and training episodes "
        "beside them): the frozen test set alone decides"
    )
    return False


def evaluation_of_new(config: Any, settings: RetrainSettings) -> Any:
    """evaluate's config for the new test set: as many clips as there are, and not under the name of a published one."""
    protocol = {key: value for key, value in config.protocol.items() if key not in ("videos", "name")}
    return replace(config, protocol=protocol, min_clips=1, min_episodes=settings.least_test_episodes)


def decide(places: Places, asked: Asked, models: Mapping[str, Model], reports: Reports) -> dict[str, Any]:
    """Hold the candidate against the champion, and promote it or not. Effects in the registry come here alone.

    Args:
        places: promote's decisions go to runs/<id>/promotions.
        asked: what it is about.
        models: candidate and champion.
        reports: of the frozen test set, and of the new one where it is judged.

    Returns:
        The content of result.json, which is written.

    Raises:
        MosoError: someone has moved the champion since the retraining began.
    """
    current, settings, policy = asked.current, asked.settings, asked.promote.policy
    judge = settings.judge if settings.judge in reports else "frozen"
    compared = {name: {who: _figure(of[who], policy.metric) for who in of} for name, of in reports.items()}
    for name, of in compared.items():
        ours, theirs = of["candidate"], of["champion"]
        print(f"{name} test set: {policy.metric} candidate {ours:.4f}, champion {theirs:.4f}", flush=True)
    digests = {who: model_digest(model) for who, model in models.items()}
    candidate = digests["candidate"]
    _keep_frozen(places, current, reports["frozen"])
    # From here on the champion may be this retraining's own doing: a later call must know it by its digest. And where
    # that one cannot go on, it puts the figures of both back.
    judged = with_digests(read_json(places.run(current) / CANDIDATE).get("judged", {}), reports[judge])
    begun = {"model_digest": candidate, "champion_digest": digests["champion"], "judged": judged}
    write_json(places.run(current) / CANDIDATE, begun)
    _require_champion(places, asked)
    worse = beyond_tolerance(judge, compared, settings.tolerance_db, higher_is_better=policy.higher_is_better)
    worse = [f"{policy.metric} on the {text}" for text in worse]
    record = _ask_the_gate(places, asked, models, reports, judge, worse)
    outcome, reasons = record["decision"]["outcome"], list(record["decision"]["reasons"])
    name, new = current["name"], len(current["new"])
    result = {
        "format": "moso.retraining",
        "format_version": 1,
        "id": current["id"],
        "outcome": outcome,
        "reasons": reasons,
        "text": f"{name}: {outcome} after {new} new episodes (judged on the {judge} test set): {'; '.join(reasons)}",
        "model": name,
        "version": record["version"],
        "candidate": candidate,
        "champion_before": current["champion"],
        "judge": judge,
        "metric": policy.metric,
        "compared": compared,
        "new_episodes": new,
        "drift": asked.drift,
        "folder": str(places.run(current).absolute()),
    }
    write_json(places.run(current) / RESULT, result)
    return result


def beyond_tolerance(
    judge: str, compared: Mapping[str, Mapping[str, float]], most: float, *, higher_is_better: bool
) -> list[str]:
    """Why the test sets that do not judge speak against the candidate; [] where they do not."""
    found = []
    for name, of in compared.items():
        loss = (of["champion"] - of["candidate"]) * (1 if higher_is_better else -1)
        if name != judge and not loss <= most:  # also catches NaN
            found.append(f"{name} test set is worse by {loss:.4g}, {most:g} is tolerated")
    return found


def _keep_frozen(places: Places, current: Mapping[str, Any], reports: Mapping[str, Path]) -> None:
    """The reports on the frozen test set into the run's folder, where a later call finds them (on Kubeflow)."""
    for who, target in frozen_reports(places, current).items():
        if reports[who].absolute() != target.absolute():
            with atomic_folder(target) as folder:
                shutil.copytree(reports[who], folder, dirs_exist_ok=True)


def _ask_the_gate(
    places: Places,
    asked: Asked,
    models: Mapping[str, Model],
    reports: Reports,
    judge: str,
    worse: list[str],
) -> dict[str, Any]:
    """The candidate's promotion.json; with `worse`, what speaks against it elsewhere, it is filed as refused."""
    name, alias, folder = asked.current["name"], asked.promote.alias, places.run(asked.current) / "promotions"
    digests = {who: model_digest(model) for who, model in models.items()}

    def promote(who: str, **more: Path) -> dict[str, Any]:
        target = folder / f"{judge}_{who}.json"
        inputs = {**models[who], "report": reports[judge][who], **more}
        if who == "champion":  # its own tokens are not here, and the registry knows it
            inputs = {name: path for name, path in inputs.items() if name in (*PARTS, "report")}
        run_step("promote", asked.promote, inputs, {"promotion": target})
        record: dict[str, Any] = json.loads(target.read_text())
        return record

    against = {}
    if worse:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "objections.json", worse)
        against = {"objections": folder / "objections.json"}
    held = registry()
    try:
        # Under one protocol: the champion's figures on these clips are filed first. Where a call before this one has
        # promoted the candidate, that decision stands, and the old champion is nobody's candidate.
        now = held.by_alias(name, alias)
        if now is not None and now.tags.get(MODEL_DIGEST) == digests["champion"]:
            promote("champion")
        return promote("candidate", **against)
    finally:
        if judge != "frozen":
            judged = read_json(places.run(asked.current) / CANDIDATE)["judged"]
            back_to_frozen(held, name, alias, digests, judged, reports["frozen"])


def _require_champion(places: Places, asked: Asked) -> None:
    """Nobody has moved the alias since the retraining began; where it stands for the candidate, this run did."""
    name, alias = asked.current["name"], asked.promote.alias
    now = champion_moved(places, asked.current, alias)
    if now:
        raise MosoError(
            f"models:/{name}@{alias} was moved to {now} while a retraining went on that began from "
            f"version {asked.current['champion']}; run it again to begin a new one from the present champion"
        )


def _figure(report: Path, metric: str) -> float:
    values = figures(json.loads((report / "metrics.json").read_text()))
    if metric not in values:
        raise DataError(f"{report / 'metrics.json'}: no figure {metric}; it has {', '.join(sorted(values))}")
    return values[metric]


def as_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """The figures of a result as a table: test set, candidate, champion, difference."""
    rows = [(name, of["candidate"], of["champion"]) for name, of in result.get("compared", {}).items()]
    table = pd.DataFrame(rows, columns=["test set", "candidate", "champion"])
    return table.assign(difference=table["candidate"] - table["champion"])
