"""Ray Train: one function, run by several workers together, on this machine or on a cluster; killed ones go on.

    fit("components.on_ray:in_worker", arguments, plan, stop)

Every worker calls the function with a Context: its world, the newest checkpoint to go on from, a sink for checkpoints.
Behind it: ray_trainer.py (Ray Train's settings), ray_worker.py (what a worker does), ray_desk.py (how driver and
workers talk beside Ray Train), ray_storage.py (where checkpoints are copied to). They import ray; this module does so
only when it is asked to run, so that a missing Ray is one line.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moso.adapters.redact import redact
from moso.errors import MosoError, StopRequested
from moso.step import StopSignal

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.result import Result

# What a person who asked for two workers would not expect: usage figures sent out, a metrics exporter, another current
# folder, prints that become log records. Ray asks its workers every second and not every other, as a report of theirs
# waits for that. Variables already set win.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
OBJECT_STORE_BYTES = 128 * 2**20
"""Of a Ray that is started here: settings and figures alone go through it. By default it takes 30% of the memory."""
TOLD = ("MOSO_TRACKING", "MOSO_WORKERS", "MOSO_GIT_COMMIT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
"""Variables that other machines are told. Credentials are not among them: those machines have their own."""
LOOK_S = 0.2
STARTS = 3


class RayError(MosoError):
    """Ray is not installed, cannot be reached, has too little, or its workers died too often."""


@dataclass(frozen=True)
class Plan:
    """Who works, where, and what is kept.

    Attributes:
        title: the step, for messages.
        name: of the run, the same for equal runs alone: a driver that is started again goes on with the run of this
            name in the same storage.
        workers, gpus_per_worker, cpus_per_worker, address, max_failures: see components/scaling.py.
        storage: folder or s3://bucket/prefix.
        keep: checkpoints kept in the storage, the newest.
    """

    title: str
    name: str
    workers: int
    gpus_per_worker: int
    cpus_per_worker: int
    address: str
    storage: str
    max_failures: int
    keep: int


def fit(body: str, arguments: Mapping[str, Any], plan: Plan, stop: StopSignal) -> None:
    """Run `body` on the plan's workers until it is done; then remove what lies in the storage under the plan's name.

    Args:
        body: "module:function"; every worker imports it and calls function(arguments, context).
        arguments: plain data, the same for every worker.
        plan: who works where.
        stop: the driver's stop signal; it reaches the workers' own within a second.

    Raises:
        StopRequested: the signal was raised, and the workers have written a checkpoint.
        MosoError: what a worker raised, as its line; such an error is not tried again.
        RayError: Ray is missing, away, too small, or more workers died than the plan allows.
    """
    require_ray()
    if plan.address == "local":
        _keep_to_ourselves()
    from moso.adapters.ray_storage import Storage

    storage = Storage.at(plan.storage, plan.name)
    with _connected(plan, stop):
        from moso.adapters.ray_desk import open_desk
        from moso.adapters.ray_trainer import trainer

        desk = open_desk()
        result = _wait(trainer(body, arguments, plan, storage, desk), desk, plan, stop)
    if stopped := (result.return_value or {}).get("stopped"):
        raise StopRequested(stopped)
    storage.discard()


def require_ray() -> None:
    """Make sure that Ray is installed, and set its quiet defaults.

    Raises:
        RayError: it is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise RayError("ray is not installed: pip install 'moso[ray]', or leave params.yaml's ray as it is shipped")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def show_token() -> None:
    """Have Ray show the token that the environment holds. It looks at the mode once, when it is imported."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _keep_to_ourselves() -> None:
    """A token of this run's own for a Ray that is started here, which others on this machine cannot use then.

    By default Ray writes one into the home folder, which may not be writable, and all of a person's Rays share it.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@contextmanager
def _connected(plan: Plan, stop: StopSignal) -> Iterator[None]:
    """A connection to the plan's Ray, which is started where the address is local, and ends with it."""
    import ray

    local = plan.address == "local"
    if local:
        settings: dict[str, Any] = {
            "num_cpus": plan.workers * plan.cpus_per_worker,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",  # nobody outside needs to reach it
        }
    else:
        settings = {}
    _reach(plan.address, settings)
    try:
        if threading.current_thread() is threading.main_thread():
            stop.listen()  # ray.init put a handler of its own in place of ours
        _check_resources(plan)
        yield
    finally:
        ray.shutdown()


def _reach(address: str, settings: dict[str, Any]) -> None:
    """Connect. A Ray that is started here gets three tries: on a busy machine it is not up within its own limits."""
    import ray

    tries = STARTS if address == "local" else 1
    for left in reversed(range(tries)):
        try:
            # "local" starts one, whatever else runs on this machine and whatever RAY_ADDRESS says.
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=True, **settings)
            return
        except SystemExit:  # Ray's own answer to SIGTERM, which stands in place of ours meanwhile
            raise StopRequested("no worker had been started") from None
        except Exception as error:  # Ray raises it bare where it did not come up in time
            ray.shutdown()
            if left:
                print(f"Ray did not start ({_line(error)}); tries again", file=sys.stderr, flush=True)
                continue
            remedy = (
                "its logs are in /tmp/ray/session_latest/logs"
                if address == "local"
                else "is it running (ray start --head), is the address right, has RAY_AUTH_TOKEN its token?"
            )
            raise RayError(f"ray.address = {address!r}: no connection to Ray ({_line(error)}); {remedy}") from error


def _check_resources(plan: Plan) -> None:
    """What the workers ask for against what there is; a cluster may grow, this machine does not."""
    import ray

    there = ray.cluster_resources()
    for kind, each, field in (("GPU", plan.gpus_per_worker, "gpus"), ("CPU", plan.cpus_per_worker, "cpus")):
        wanted, has = each * plan.workers, int(there.get(kind, 0))
        if wanted <= has:
            continue
        where = "this machine" if plan.address == "local" else f"the cluster at {plan.address}"
        asked = f"ray.workers = {plan.workers} with ray.{field}_per_worker = {each}"
        lack = f"{asked}: {where} has {has} {kind}"
        if plan.address == "local":
            raise RayError(f"{lack}; lower one of the two")
        print(f"{plan.title}: {lack} now; waits until it has {wanted}", file=sys.stderr, flush=True)


def _wait(trainer: TorchTrainer, desk: Any, plan: Plan, stop: StopSignal) -> Result:
    """The fit's result. It runs in a thread, so that this one sees signals (and Ray leaves SIGINT's handler alone)."""
    import ray
    from ray.train import TrainingFailedError

    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(trainer.fit())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="ray-train", daemon=True)
    thread.start()
    told = False
    while thread.is_alive():
        thread.join(LOOK_S)
        if stop and not told:
            told = True
            ray.get(desk.stop.remote())
            print(f"{plan.title}: asks {plan.workers} workers to write what they have", file=sys.stderr, flush=True)
    (result,) = outcome
    if not isinstance(result, BaseException):
        return result
    if refusal := ray.get(desk.refusal.remote()):
        raise RayError(refusal)
    if isinstance(result, TrainingFailedError):
        print(result, file=sys.stderr, flush=True)
        raise RayError(
            f"workers died more than ray.max_failures = {plan.max_failures} times, the last one by what stands above; "
            "the newest checkpoint is kept, run it again to go on"
        ) from None
    raise result


def _line(error: BaseException) -> str:
    """The first line of an error's text, without secrets."""
    return redact(f"{error}".strip().partition("\n")[0] or type(error).__name__)
