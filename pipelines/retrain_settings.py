"""Settings of `moso retrain` (pipelines/retraining.yaml)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from moso.config import build, check_choices, load_yaml
from moso.errors import ConfigError

DEFAULT = Path(__file__).parent / "retraining.yaml"


@dataclass(frozen=True)
class RetrainSettings:
    """The content of retraining.yaml; the file says where its numbers come from.

    Attributes:
        least_episodes: N; fewer new episodes are "nothing new".
        drift_episodes: episodes of each side that the drift's pixels are measured on.
        vqvae_bound_db: dB of PSNR by which the champion's reconstruction of new data may lie below that of training
            data; beyond it Stage I is retrained, and Stage II anew on its tokens.
        judge: the test set that the gate asks a gain on.
        least_test_episodes: fewer new episodes of the split test, and the frozen test set alone decides, which is said.
        tolerance_db: how much worse the policy's metric may be on the other test set, in its unit.
        lock: None (the state folder), a folder, or s3://bucket/prefix.
        lease_minutes: after which the lock of a dead process is free.
        cluster_minutes: likewise of a run on Kubeflow, where no process lives from the first pod to the last: longer
            than a whole retraining takes. A run that ends, well or not, lets go of it.
        train_transformer: laid over the section of that name for the fine-tuning.
        train_vqvae: likewise.
    """

    least_episodes: int = 8
    drift_episodes: int = 64
    vqvae_bound_db: float = 2.0
    judge: Literal["new", "frozen"] = "new"
    least_test_episodes: int = 6
    tolerance_db: float = 0.5
    lock: str | None = None
    lease_minutes: float = 10.0
    cluster_minutes: float = 2880.0
    train_transformer: Mapping[str, Any] = field(default_factory=dict)
    train_vqvae: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("least_episodes", "drift_episodes", "least_test_episodes"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1")
        for name in ("vqvae_bound_db", "tolerance_db"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(name, getattr(self, name), "must be a finite number of at least 0")
        for name in ("lease_minutes", "cluster_minutes"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(name, getattr(self, name), "must be a positive number of minutes")
        # Taken for a folder, each machine would have a lock of its own, and none would notice.
        if self.lock and "://" in self.lock and not self.lock.startswith("s3://"):
            raise ConfigError("lock", self.lock, "is no address of a lock", "name a folder, or s3://bucket/prefix")


def load_settings(path: Path = DEFAULT) -> RetrainSettings:
    """The settings that a file names.

    Raises:
        ConfigError: no such file, an unknown or wrong setting.
    """
    return build(RetrainSettings, load_yaml(path), path.name)
