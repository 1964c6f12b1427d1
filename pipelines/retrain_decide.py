"""The end of a retraining: both models on both test sets, a tolerance, the gate, and what the registry is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from components.promote import evaluation
from moso.adapters.mlflow_decisions import DecisionLog
from moso.datasets.manifest import Manifest
from moso.errors import DataError, MosoError
from moso.provenance import write_json
from moso.registry.decide import figures
from pipelines.retrain_settings import RetrainSettings
from pipelines.retrain_state import CANDIDATE, RESULT, Places, champion_moved, model_digest, registry, run_step

Model = Mapping[str, Path]
"""vqvae and transformer, the folders that the trainings wrote, and tokens: those that Stage II was trained on."""
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
    candidate = model_digest(models["candidate"])
    # From here on the champion may be this retraining's own doing: a later call must know it by its digest.
    write_json(places.run(current) / CANDIDATE, {"model_digest": candidate})
    _require_champion(places, asked)
    worse = beyond_tolerance(judge, compared, settings.tolerance_db, higher_is_better=policy.higher_is_better)
    worse = [f"{policy.metric} on the {text}" for text in worse]
    if worse:
        outcome, reasons, version = "refused", worse, None
    else:
        record = _ask_the_gate(places, asked, models, reports, judge)
        outcome, reasons = record["decision"]["outcome"], list(record["decision"]["reasons"])
        version = record["version"]
    name, new = current["name"], len(current["new"])
    result = {
        "format": "moso.retraining",
        "format_version": 1,
        "id": current["id"],
        "outcome": outcome,
        "reasons": reasons,
        "text": f"{name}: {outcome} after {new} new episodes (judged on the {judge} test set): {'; '.join(reasons)}",
        "model": name,
        "version": version,
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


def _ask_the_gate(
    places: Places, asked: Asked, models: Mapping[str, Model], reports: Reports, judge: str
) -> dict[str, Any]:
    def promote(name: str, who: str, test_set: str) -> dict[str, Any]:
        target = places.run(asked.current) / "promotions" / f"{test_set}_{name}.json"
        inputs = {**models[who], "report": reports[test_set][who]}
        run_step("promote", asked.promote, inputs, {"promotion": target})
        record: dict[str, Any] = json.loads(target.read_text())
        return record

    try:
        # Under one protocol: the champion's figures on these clips are filed first.
        promote("champion", "champion", judge)
        return promote("candidate", "candidate", judge)
    finally:
        if judge != "frozen":
            back_to_frozen(asked, models, reports["frozen"])


def back_to_frozen(asked: Asked, models: Mapping[str, Model], reports: Mapping[str, Path]) -> None:
    """File both models' figures on the frozen test set again, whatever the gate said; it is not asked.

    What the pipeline promotes next is measured there, and refused where the champion's figures are of other clips. The
    old champion's are put back too: a rollback makes it the champion again.

    Args:
        asked: what the decision is about.
        models: candidate and champion; one that is not registered is left out.
        reports: of each, on the frozen test set.
    """
    name, held = asked.current["name"], registry()
    with DecisionLog(held, name, asked.promote.alias).hold():
        for who, report in reports.items():
            digest = model_digest(models[who])
            version = held.find(name, digest)
            if version is not None:
                held.tag(version, evaluation.keep(held, version, report, evaluation.read(report, digest)))


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
