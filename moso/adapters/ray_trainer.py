"""Ray Train's TorchTrainer (V2) for a plan."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.train import (
    CheckpointConfig,
    ControllerError,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    UserCallback,
)
from ray.train.torch import TorchConfig, TorchTrainer

from moso.adapters.ray import TOLD
from moso.adapters.ray_storage import Storage
from moso.adapters.ray_worker import Refused, Task, work

if TYPE_CHECKING:
    from moso.adapters.ray import Plan

WAIT_S = 4 * 3600
"""How long a worker waits for another at a sum or a barrier: rank 0 validates, and writes outputs, meanwhile. Ray sees
by other means that a worker died, within seconds, or within half a minute where its machine is cut off."""


class Watch(UserCallback):
    """In the controller: ends the run at an error that is not to be tried again, and says what it goes on from."""

    def __init__(self, title: str, desk: Any) -> None:
        self.title, self.desk = title, desk

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray Train when it sees that workers failed, before it decides whether to start them again."""
        if refusal := ray.get(self.desk.refusal.remote()):
            raise ControllerError(Refused(refusal))
        for rank, error in sorted(worker_exceptions.items()):
            last = f"{error}".strip().rpartition("\n")[2]
            print(f"{self.title}: worker {rank} failed: {last}", file=sys.stderr, flush=True)


def trainer(body: str, arguments: Mapping[str, Any], plan: Plan, storage: Storage, desk: Any) -> TorchTrainer:
    """The trainer of `plan`; see moso.adapters.ray.fit for the arguments."""
    task = Task(
        body=body,
        arguments=arguments,
        desk=desk,
        gpu=plan.gpus_per_worker > 0,
        folder=str(Path.cwd()),
        environment={name: os.environ[name] for name in TOLD if name in os.environ},
    )

    def worker() -> dict[str, str]:
        return work(task)

    resources: dict[str, float] = {"CPU": plan.cpus_per_worker, "GPU": plan.gpus_per_worker}
    return TorchTrainer(
        worker,  # type: ignore[arg-type]
        torch_config=TorchConfig(timeout_s=WAIT_S),
        scaling_config=ScalingConfig(
            num_workers=plan.workers, use_gpu=plan.gpus_per_worker > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(  # type: ignore[call-arg]
            name=plan.name,
            storage_path=storage.path,
            storage_filesystem=storage.filesystem,
            failure_config=FailureConfig(max_failures=plan.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=plan.keep),
            callbacks=[Watch(plan.title, desk)],  # type: ignore[list-item]
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
