"""How a step sits on the cluster: resources, retries, secrets, volumes, nodes. Read from pipelines/cluster.yaml.

What a step asks for by default is in its metadata.yaml. Names and addresses only: a secret's value is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from kfp import dsl, kubernetes

from components.config import STEPS
from components.scaling import STEPS as ON_RAY
from moso.adapters.redact import MASK, redact
from moso.config import build, check_choices, load_yaml
from moso.errors import ConfigError

ROOT = Path(__file__).parent.parent
DEFAULT = Path(__file__).parent / "cluster.yaml"
TRACKING = "MLFLOW_TRACKING_URI"
_QUANTITY = re.compile(r"[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?")  # as kfp's set_memory_request takes it
_CPU = re.compile(r"([0-9]*[.])?[0-9]+m?")
_DURATION = re.compile(r"[0-9]+s")


@dataclass(frozen=True)
class Resources:
    """What one step's pod asks for.

    Attributes:
        cpu: cores that are reserved ("8", "500m"); more are taken where the node has them free.
        memory: reserved, and the limit at which Kubernetes ends the pod ("32Gi").
        gpus: whole GPUs.
    """

    cpu: str
    memory: str
    gpus: int = 0

    def __post_init__(self) -> None:
        if not _CPU.fullmatch(self.cpu):
            raise ConfigError("cpu", self.cpu, "must be cores or thousandths", "'8' or '500m' would be one")
        _memory("memory", self.memory)
        if self.gpus < 0:
            raise ConfigError("gpus", self.gpus, "must be 0 or more")


@dataclass(frozen=True)
class Retries:
    """How often a failed step is started again, and after how long: backoff, backoff * factor, … up to longest."""

    count: int = 3
    backoff: str = "60s"
    factor: float = 2.0
    longest: str = "3600s"

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigError("count", self.count, "must be 0 or more")
        if self.factor < 1:
            raise ConfigError("factor", self.factor, "must be 1 or more")
        for name in ("backoff", "longest"):
            if not _DURATION.fullmatch(getattr(self, name)):
                raise ConfigError(name, getattr(self, name), "must be whole seconds", "'60s' would be one")


@dataclass(frozen=True)
class Volume:
    """A PersistentVolumeClaim, mounted at `path` in the pods of `steps`."""

    claim: str
    path: str
    sub_path: str = ""
    steps: tuple[str, ...] = STEPS

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ConfigError("path", self.path, "must be an absolute path in the container")
        _steps(self.steps)


@dataclass(frozen=True)
class Secret:
    """A Kubernetes Secret: key in it -> environment variable of the pods of `steps`."""

    name: str
    env: dict[str, str]
    optional: bool = False
    steps: tuple[str, ...] = STEPS

    def __post_init__(self) -> None:
        _steps(self.steps)


@dataclass(frozen=True)
class Toleration:
    """A taint that a pod tolerates, in Kubernetes' words."""

    key: str
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None

    def __post_init__(self) -> None:
        check_choices(self)


@dataclass(frozen=True)
class Gpu:
    """Where pods with GPUs go."""

    accelerator: str = "nvidia.com/gpu"
    tolerations: tuple[Toleration, ...] = ()
    node_selector: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster:
    """The content of cluster.yaml; the file says what each part is for."""

    resources: dict[str, Any] = field(default_factory=dict)
    retries: Retries = Retries()
    work: Volume | None = None
    volumes: tuple[Volume, ...] = ()
    secrets: tuple[Secret, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    gpu: Gpu = Gpu()
    tolerations: tuple[Toleration, ...] = ()
    node_selector: dict[str, str] = field(default_factory=dict)
    shared_memory: str = "4Gi"
    image_pull_secrets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _steps(tuple(self.resources))
        _memory("shared_memory", self.shared_memory)
        for name, value in self.environment.items():
            if not isinstance(value, str):
                raise ConfigError(f"environment.{name}", value, "must be text", "put it in quotes")
            if redact(value, name) != value:
                rule = "is a secret's value, and would be readable in the compiled pipeline"
                raise ConfigError(f"environment.{name}", MASK, rule, "name a Kubernetes Secret under `secrets` instead")
        for step in STEPS:
            self.resources_of(step)

    def resources_of(self, step: str) -> Resources:
        """What the step's metadata.yaml asks for, under what this cluster says."""
        asked = {**metadata(step)["resources"], **(self.resources.get(step) or {})}
        return build(Resources, asked, f"resources.{step}")

    def environment_of(self, step: str) -> dict[str, str]:
        """Plain variables of the step's pod."""
        own = {"MOSO_WORK": self.work.path} if self.work else {}
        if self.resources_of(step).gpus:
            own["MOSO_DEVICE"] = "cuda"
        return {**own, **self.environment}

    def volumes_of(self, step: str) -> tuple[Volume, ...]:
        """Claims mounted in the step's pod."""
        return tuple(one for one in (self.work, *self.volumes) if one is not None and step in one.steps)

    def volume_at(self, step: str, path: str) -> Volume | None:
        """The claim on which `path` lies in the step's pod, or None where it lies in the pod itself."""
        above = [one for one in self.volumes_of(step) if PurePosixPath(path).is_relative_to(one.path)]
        return max(above, key=lambda one: len(PurePosixPath(one.path).parts), default=None)

    def check_tracking(self) -> None:
        """Refuse a cluster whose pods would keep their records and models to themselves.

        Raises:
            ConfigError: no step's environment has MLFLOW_TRACKING_URI.
        """
        if TRACKING not in self.environment and not any(TRACKING in secret.env.values() for secret in self.secrets):
            rule = "is missing: the records and the registered model would go with the pod"
            raise ConfigError(f"environment.{TRACKING}", None, rule, "add the address of the MLflow server")


def load_cluster(path: Path = DEFAULT) -> Cluster:
    """The cluster that a file describes.

    Raises:
        ConfigError: no such file, an unknown or wrong setting, a secret's value.
    """
    return build(Cluster, load_yaml(path), path.name)


@cache
def metadata(step: str) -> dict[str, Any]:
    """The content of components/<step>/metadata.yaml."""
    return load_yaml(ROOT / "components" / step / "metadata.yaml")


def place(task: dsl.PipelineTask, step: str, cluster: Cluster) -> None:
    """Give a step's task what the cluster says: resources, retries, secrets, volumes, nodes, environment."""
    asked, retries = cluster.resources_of(step), cluster.retries
    task.set_cpu_request(asked.cpu).set_memory_request(asked.memory).set_memory_limit(asked.memory)
    if retries.count:
        task.set_retry(retries.count, retries.backoff, retries.factor, retries.longest)
    for name, value in cluster.environment_of(step).items():
        task.set_env_variable(name, value)
    for secret in cluster.secrets:
        if step in secret.steps:
            kubernetes.use_secret_as_env(task, secret.name, secret.env, optional=secret.optional)
    for volume in cluster.volumes_of(step):
        kubernetes.mount_pvc(task, volume.claim, volume.path, volume.sub_path)
    if step in ON_RAY:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", cluster.shared_memory)
    _nodes(task, cluster, asked.gpus)
    if cluster.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(cluster.image_pull_secrets))


def _nodes(task: dsl.PipelineTask, cluster: Cluster, gpus: int) -> None:
    tolerations, selector = cluster.tolerations, cluster.node_selector
    if gpus:
        task.set_accelerator_type(cluster.gpu.accelerator).set_accelerator_limit(gpus)
        tolerations, selector = (*tolerations, *cluster.gpu.tolerations), {**selector, **cluster.gpu.node_selector}
    for taint in tolerations:
        kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect)
    for label, value in selector.items():
        kubernetes.add_node_selector(task, label, value)


def _steps(names: tuple[str, ...]) -> None:
    for name in names:
        if name not in STEPS:
            raise ConfigError("steps", name, "is no step", f"known: {', '.join(STEPS)}")


def _memory(name: str, value: str) -> None:
    if not _QUANTITY.fullmatch(value):
        raise ConfigError(name, value, "must be a Kubernetes quantity of bytes", "'32Gi' would be one")
