"""Cache keys of the steps by content, as DVC has them: own settings, own code, and the keys of what goes in.

Kubeflow's own key holds the names of the input artefacts, not their content, and every parameter: a run whose ingest
was computed anew would train anew although the episodes are the same, and so would one with another number of workers.
`cache_key` of kfp's task replaces it. Two steps of one key give the same bytes, since every step is a function of
config, code and inputs. So the keys can be known before the run, provided that the raw data's content is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components import images
from components.config import STEPS
from moso.provenance import digest_file, digest_json
from pipelines.cluster import ROOT, metadata

ALWAYS = ("promote",)  # its effect is in the registry, which may have changed since


def raw_digest_of(ingest: Any, given: str | None = None) -> str | None:
    """What stands for the content of the raw data, or None where nobody knows it before it is read.

    Args:
        ingest: ingest's config.
        given: a digest that the caller vouches for; it changes whenever the raw data does.
    """
    if given:
        return given
    simulated = ingest.spec.source.kind == "simulate" and ingest.raw is None
    return "simulated" if simulated else None  # its settings and code say all, and both are in the key


def cache_keys(arguments: Mapping[str, Any], raw_digest: str | None, root: Path = ROOT) -> dict[str, str]:
    """Step -> key, of the steps that may be cached; none where the raw data's content is unknown.

    Args:
        arguments: step -> resolved config in plain data.
        raw_digest: `raw_digest_of`.
        root: the repository, whose dvc.yaml names each step's code.
    """
    if raw_digest is None:
        return {}
    keys: dict[str, str] = {}
    producers = {name: step for step in STEPS for name in metadata(step)["outputs"]}
    for step in STEPS:
        if step in ALWAYS:
            continue
        keys[step] = digest_json(
            {
                "step": step,
                "config": arguments[step],
                "code": code_digest_of(step, root),
                "image": getattr(images, metadata(step)["image"].upper()),
                "inputs": {name: keys[producers[name]] for name in metadata(step)["inputs"] if name in producers},
                **({"raw": raw_digest} if step == "ingest" else {}),
            }
        )
    return keys


def code_digest_of(step: str, root: Path = ROOT) -> str:
    """Digest of the code that dvc.yaml lists for a stage: it changes when, and only when, DVC runs the stage again."""
    deps = yaml.safe_load((root / "dvc.yaml").read_text())["stages"][step]["deps"]
    files: set[Path] = set()
    for dep in deps:
        if dep.startswith(("components/", "moso/", "pipelines/")):
            path = root / dep
            files |= set(path.rglob("*.py")) if path.is_dir() else {path}
    return digest_json({str(path.relative_to(root)): digest_file(path) for path in sorted(files)})
