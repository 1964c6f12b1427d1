"""params.yaml's `ray`: on how many workers the trainings and the token extraction run, and where.

It says *how* a step runs, never *what* it computes: it is in no identity, and no stage of DVC depends on it. So a
training that one worker began goes on with two, and the other way round.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moso.adapters.redact import MASK, redact
from moso.config import build
from moso.errors import ConfigError

STEPS = ("train_vqvae", "extract_tokens", "train_transformer")
"""The steps that several workers run together; the others are one process, whatever is set here."""
ENVIRONMENT = "MOSO_RAY"
_JOBS_API = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9_.\-]+:\d+|\[[0-9A-Fa-f:.]+\]:\d+")


@dataclass(frozen=True)
class Scaling:
    """Section `ray`, common to all steps. As it stands by default, a step is one process and Ray is not needed.

    Attributes:
        workers: processes that train one model together. A batch is dealt to them: its size, what a step sees, stays.
        gpus_per_worker: GPUs each of them gets; 0: they compute on CPUs.
        cpus_per_worker: CPU cores each of them gets, and threads that it computes with.
        address: "local": Ray is started for this step and ends with it; "host:6379": the cluster whose head is there;
            "auto": the cluster that this machine, or the variable RAY_ADDRESS, belongs to; "http://host:8265": the
            cluster whose Jobs API answers there, to which this machine does not belong: it is handed the whole step.
        storage: folder or s3://bucket/prefix that all machines reach, where checkpoints are copied to; None: the work
            folder, which does for one machine, or with `shared` a folder below that.
        shared: with an http address, and only there: the folder that this machine and all of the cluster have at the
            same path. What the step reads and writes goes by it.
        max_failures: how often a worker may die before the step gives up; -1: as often as it likes.
    """

    workers: int = 1
    gpus_per_worker: int = 0
    cpus_per_worker: int = 1
    address: str = "local"
    storage: str | None = None
    shared: str | None = None
    max_failures: int = 3

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("gpus_per_worker", 0), ("cpus_per_worker", 1), ("max_failures", -1)):
            if getattr(self, name) < least:
                raise ConfigError(name, getattr(self, name), f"must be at least {least}", f"{least} would fit")
        for name in ("address", "storage", "shared"):
            value = getattr(self, name)
            if value is not None and redact(value) != value:
                rule = "holds a secret, which logs and Ray's page would show"
                remedy = "set RAY_AUTH_TOKEN, or for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                raise ConfigError(name, redact(value), rule, remedy)
        if self.address.startswith("ray://"):
            raise ConfigError(
                "address",
                self.address,
                "is a Ray Client's, which Ray Train does not run over",
                "run the step on a machine of the cluster (a RayJob, say) with address: auto",
            )
        known = self.address in ("local", "auto") or self.hands_over or _HOST_AND_PORT.fullmatch(self.address)
        if not known:
            raise ConfigError(
                "address",
                _without_secret(self.address),
                "must be local, auto, host:port or http(s)://host:port, without user and password",
                "ray-head:6379, say",
            )
        self._check_places()

    def _check_places(self) -> None:
        storage = self.storage or ""
        elsewhere = "://" in storage and (not storage.startswith("s3://") or _without_secret(storage) != storage)
        if self.storage == "" or elsewhere:
            raise ConfigError("storage", _without_secret(storage), "must be a folder or s3://bucket/prefix", "or null")
        if self.hands_over:
            if self.shared is None:
                rule = f"a step that is handed to {self.address} goes by a folder that both sides mount"
                raise ConfigError("shared", None, rule, "set it to that folder's path, /moso/handed, say")
            for name in ("shared", "storage"):
                value = getattr(self, name)
                if value is not None and not value.startswith(("/", "s3://")):
                    raise ConfigError(name, value, "must be an absolute path, the same on all machines")
            if self.shared.startswith("s3://"):
                raise ConfigError("shared", self.shared, "must be a folder that is mounted", "storage may be in S3")
            return
        if self.shared is not None:
            rule = f"is for an http address, at which a step is handed over; address is {self.address}"
            raise ConfigError("shared", self.shared, rule, "leave it out, or set address to http://HEAD:8265")
        if self.storage is None and self.address != "local":
            raise ConfigError(
                "storage",
                None,
                f"machines of a cluster ({self.address}) need one place that all of them reach",
                "set it to a shared folder or to s3://bucket/prefix",
            )

    @property
    def hands_over(self) -> bool:
        """Whether the step is handed whole to a cluster that this machine is not part of."""
        return _JOBS_API.fullmatch(self.address) is not None

    @property
    def on_ray(self) -> bool:
        """Whether Ray runs the step: with one worker on this machine and nothing to keep elsewhere it is not needed."""
        return self.workers > 1 or self.address != "local" or self.storage is not None


def _without_secret(address: str) -> str:
    """`address`, or a mask where it has a part that may hold one: a user before "@", a query behind "?"."""
    return MASK if "@" in address or "?" in address else address


def asked(values: Mapping[str, Any] | None) -> Scaling:
    """The scaling in `values` (params.yaml's `ray`), with what MOSO_RAY says laid over it.

    Args:
        values: plain data; None and what is not named: the defaults.

    Raises:
        ConfigError: an unknown or wrong setting, or a MOSO_RAY that is no JSON mapping.
    """
    if not isinstance(values or {}, Mapping):
        raise ConfigError("ray", values, "must be a mapping of settings (or {})")
    return build(Scaling, {**(values or {}), **_from_environment()}, "ray")


def _from_environment() -> Mapping[str, Any]:
    text = os.environ.get(ENVIRONMENT)
    if not text:
        return {}
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ConfigError(ENVIRONMENT, text, "must be a JSON mapping", 'for example {"workers": 2}')
    return values
