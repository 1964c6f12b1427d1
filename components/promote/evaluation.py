"""What an evaluation leaves with a registered version, and how a candidate's is held against the champion's.

Figures, protocol and digests are tags of the version; the table of figures clip by clip and the page are files of its
run. The table lies under its digest, so that an evaluation that is filed while another one is compared changes nothing
for that one.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from moso.adapters import mlflow_registry
from moso.adapters.mlflow_registry import Registry, Version
from moso.config import to_dict
from moso.errors import FormatError
from moso.evaluation.per_clip import read_per_clip
from moso.provenance import digest_file, digest_json, read_provenance
from moso.registry.decide import figures, protocol_difference
from moso.registry.paired import Paired, paired
from moso.registry.policy import PromotionPolicy

TABLE, PAGE = "per_clip.parquet", "index.html"
NO_TABLE = "none"  # of a report without one: an unconditional model has no clips to compare
MODEL_VERSION = re.compile(r'(<dd id="model-version">)[^<]*(</dd>)')


def read(report: Path, model_digest: str) -> dict[str, Any]:
    """The candidate as `decide` takes it, from a report's metrics.json.

    Returns:
        model_digest, protocol_digest, protocol, metrics (dotted name -> figure) and per_clip_digest ("none": no table).

    Raises:
        FormatError: no figures, or no protocol.
    """
    path = report / "metrics.json"
    if not path.exists():
        raise FormatError(f"{path} is missing; rerun evaluate")
    content = json.loads(path.read_text())
    protocol = content.pop("protocol", None)
    if not isinstance(protocol, Mapping) or "data_set" not in protocol:
        raise FormatError(f"{path} names no protocol with a data_set; rerun evaluate")
    protocol_digest = content.pop("protocol_digest", None) or digest_json(protocol)
    table = report / TABLE
    return {
        "model_digest": model_digest,
        "protocol_digest": protocol_digest,
        "protocol": dict(protocol),
        "metrics": figures(content),
        "per_clip_digest": digest_file(table) if table.exists() else NO_TABLE,
    }


def tags(candidate: Mapping[str, Any], report_digest: str) -> dict[str, str]:
    """What a version says of its latest evaluation, but for the table (`keep` files that first)."""
    return {
        mlflow_registry.METRICS: plain_json(candidate["metrics"]),
        mlflow_registry.PROTOCOL: plain_json(candidate["protocol"]),
        mlflow_registry.PROTOCOL_DIGEST: candidate["protocol_digest"],
        mlflow_registry.REPORT_DIGEST: report_digest,
    }


def keep(registry: Registry, version: Version, report: Path, candidate: Mapping[str, Any]) -> dict[str, str]:
    """File table and page with the version's run where they are not those filed already.

    Returns:
        All tags of this evaluation: to be set once the files are there.
    """
    digest = candidate["per_clip_digest"]
    told = {
        **tags(candidate, read_provenance(report)["digest"]),
        mlflow_registry.PER_CLIP_DIGEST: digest,
    }
    if all(
        version.tags.get(key) == told[key] for key in (mlflow_registry.REPORT_DIGEST, mlflow_registry.PER_CLIP_DIGEST)
    ):
        return told
    if digest != NO_TABLE:
        registry.keep(version, report / TABLE, _place(digest))
    page = report / PAGE
    if page.exists():
        with tempfile.TemporaryDirectory(prefix="moso-page-") as temporary:
            copy = Path(temporary) / PAGE
            copy.write_text(name_version(page.read_text(encoding="utf-8"), version), encoding="utf-8")
            registry.keep(version, copy)
    return told


def compare(
    registry: Registry,
    champion: Version | None,
    candidate: Mapping[str, Any],
    report: Path,
    policy: PromotionPolicy,
) -> Paired | None:
    """Candidate and champion over the same clips; None where `decide` needs no comparison to know what follows.

    Raises:
        TrackingError: the registry cannot be asked for the champion's table; an outage is no missing table.
    """
    if champion is None:
        return None
    held = champion.record()
    if held["model_digest"] == candidate["model_digest"] or protocol_difference(candidate, held):
        return None
    with tempfile.TemporaryDirectory(prefix="moso-per-clip-") as temporary:
        theirs = None
        digest = champion.tags.get(mlflow_registry.PER_CLIP_DIGEST, NO_TABLE)
        if digest != NO_TABLE:
            path = registry.kept(champion, f"{_place(digest)}/{TABLE}", Path(temporary))
            what = f"the champion's {TABLE} (version {champion.number})"
            if path is None:
                return Paired(faults=(f"{what} is not in the registry any more",))
            if digest_file(path) != digest:
                return Paired(faults=(f"{what} is not the one that was filed: its digest is another",))
            theirs = read_per_clip(path.parent)
        ours = read_per_clip(report) if candidate["per_clip_digest"] != NO_TABLE else None
        return paired(ours, theirs, policy, candidate["protocol"])


def name_version(page: str, version: Version) -> str:
    """The report page with the registered version's name in the place that it keeps for it; as it is without one."""
    name = escape(f"models:/{version.name}/{version.number}")
    return MODEL_VERSION.sub(lambda found: found[1] + name + found[2], page, count=1)


def plain_json(value: Any) -> str:
    """JSON of plain data or a config, keys sorted."""
    return json.dumps(to_dict(value), sort_keys=True)


def _place(digest: str) -> str:
    return f"per_clip/{digest}"
