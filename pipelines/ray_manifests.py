"""Manifests for KubeRay, filled in from a values file: `moso pipeline kuberay`."""

from __future__ import annotations

import json
import re
import string
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from components import images
from moso.adapters.redact import redact
from moso.config import build, load_yaml
from moso.errors import ConfigError

FOLDER = Path(__file__).parent / "kuberay"
KINDS = ("cluster", "job")
STORAGE = "/moso/ray"  # on the claim: Ray Train's checkpoints, which every machine must reach


@dataclass(frozen=True)
class Values:
    """kuberay/values.yaml, which says what each is for."""

    name: str
    namespace: str
    image: str
    ray_version: str
    workers: int
    gpus_per_worker: int
    cpus_per_worker: int
    memory_per_worker: str
    head_cpus: int
    head_memory: str
    shared_memory: str
    claim: str
    mlflow: str
    s3_secret: str
    mlflow_secret: str
    entrypoint: str

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("gpus_per_worker", 0), ("cpus_per_worker", 1), ("head_cpus", 1)):
            if getattr(self, name) < least:
                raise ConfigError(name, getattr(self, name), f"must be at least {least}")
        for name in ("name", "namespace", "claim", "s3_secret", "mlflow_secret"):
            if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", getattr(self, name)):
                raise ConfigError(name, getattr(self, name), "must be a name of Kubernetes: a-z, 0-9 and -")
        if redact(self.mlflow) != self.mlflow:
            raise ConfigError(
                "mlflow", redact(self.mlflow), "holds a secret", f"put it into the Secret {self.mlflow_secret}"
            )

    @property
    def ray(self) -> dict[str, Any]:
        """params.yaml's `ray` for a step on this cluster."""
        own = {name: getattr(self, name) for name in ("workers", "gpus_per_worker", "cpus_per_worker")}
        return {**own, "address": "auto", "storage": STORAGE}


def render(kind: str, values: Path) -> str:
    """A manifest as YAML.

    Args:
        kind: "cluster" or "job".
        values: the values file.

    Raises:
        ConfigError: an unknown, missing or wrong value.
    """
    given = build(Values, load_yaml(values), values.name)
    cluster = _filled("cluster", given)
    if kind == "cluster":
        return _text(cluster)
    job = _filled("job", given)
    job["spec"]["rayClusterSpec"] = cluster["spec"]
    return _text(job)


def _filled(kind: str, values: Values) -> dict[str, Any]:
    names = {
        **asdict(values),
        "image": values.image or images.TRAIN,
        "entrypoint": json.dumps(" ".join(values.entrypoint.split())),  # JSON's text is YAML's
        "ray": json.dumps(values.ray),
        "device": "cuda" if values.gpus_per_worker else "cpu",
    }
    template = string.Template((FOLDER / f"ray_{kind}.yaml").read_text().partition("apiVersion")[2])
    filled: dict[str, Any] = yaml.safe_load("apiVersion" + template.substitute(names))
    return filled


class _Plain(yaml.SafeDumper):
    """Written out in full where the template repeats itself by anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(manifest: dict[str, Any]) -> str:
    return yaml.dump(manifest, Dumper=_Plain, sort_keys=False, width=120)
