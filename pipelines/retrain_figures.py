"""Which figures the registry holds of a retraining's models: but for the comparison, those on the frozen test set."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from components.promote import evaluation
from moso.adapters.mlflow_decisions import DecisionLog
from moso.adapters.mlflow_registry import REPORT_DIGEST, Registry
from moso.provenance import read_provenance


def with_digests(known: Mapping[str, Collection[str]], reports: Mapping[str, Path]) -> dict[str, list[str]]:
    """Candidate and champion -> the digests `known` of their reports, and that of `reports`, as the registry files it.

    A later call's report has another digest where the evaluation, on a GPU, say, is not the same to the bit.
    """
    return {who: sorted({*known.get(who, ()), read_provenance(report)["digest"]}) for who, report in reports.items()}


def back_to_frozen(
    registry: Registry,
    name: str,
    alias: str,
    digests: Mapping[str, str],
    judged: Mapping[str, Collection[str]],
    reports: Mapping[str, Path],
) -> None:
    """File both models' figures on the frozen test set again, whatever the gate said; it is not asked.

    What the pipeline promotes next is measured there, and refused where the champion's figures are of other clips. The
    old champion's are put back too: a rollback makes it the champion again.

    Args:
        registry: where they are.
        name: the registered model's name.
        alias: promote's.
        digests: candidate and champion: `retrain_state.model_digest`; one that is not registered is left out.
        judged: of each, the digests of the reports that this retraining has filed, in whichever call. Where the
            registry holds another one, somebody has filed that since, and it stays.
        reports: of each, on the frozen test set.
    """
    with DecisionLog(registry, name, alias).hold():
        for who, report in reports.items():
            version = registry.find(name, digests[who])
            if version is not None and version.tags.get(REPORT_DIGEST) in judged[who]:
                read = evaluation.read(report, digests[who])
                registry.tag(version, evaluation.keep(registry, version, report, read))
