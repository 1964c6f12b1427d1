"""Which figures the registry holds of a retraining's models: but for the comparison, those on the frozen test set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from components.promote import evaluation
from moso.adapters.mlflow_decisions import DecisionLog
from moso.adapters.mlflow_registry import Registry


def back_to_frozen(
    registry: Registry, name: str, alias: str, digests: Mapping[str, str], reports: Mapping[str, Path]
) -> None:
    """File both models' figures on the frozen test set again, whatever the gate said; it is not asked.

    What the pipeline promotes next is measured there, and refused where the champion's figures are of other clips. The
    old champion's are put back too: a rollback makes it the champion again.

    Args:
        registry: where they are.
        name: the registered model's name.
        alias: promote's.
        digests: candidate and champion: `retrain_state.model_digest`; one that is not registered is left out.
        reports: of each, on the frozen test set.
    """
    with DecisionLog(registry, name, alias).hold():
        for who, report in reports.items():
            version = registry.find(name, digests[who])
            if version is not None:
                read = evaluation.read(report, digests[who])
                registry.tag(version, evaluation.keep(registry, version, report, read))
