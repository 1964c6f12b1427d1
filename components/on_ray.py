"""A step that several workers run together, on Ray: the driver's side and the worker's. The step itself is the same.

Imported by name from components/main.py, where it is asked for: how a step runs is no part of what it computes, so no
stage of DVC depends on this module or on what it imports.
"""

from __future__ import annotations

import importlib
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.main import MODULE, finishing, settle_torch, tracker, worker_processes
from components.scaling import Scaling
from moso.adapters.ray import Plan, fit
from moso.config import build, to_dict
from moso.errors import CheckpointError, ConfigError
from moso.provenance import read_provenance
from moso.step import Context, Paths, StopSignal
from moso.training.work import WorkFolder, run_identity, work_key

ORPHAN_S = 60.0
"""How long rank 0 waits for its work folder: Ray ends a killed run's workers within seconds, not at once."""


def run(
    step: str, config: Any, inputs: Paths, outputs: Paths, scaling: Scaling, work: Path, device: str, stop: StopSignal
) -> None:
    """Run `step` on Ray's workers; what a worker raises is raised here.

    Args:
        step: one of components.scaling.STEPS.
        config, inputs, outputs: the step's; on a cluster every machine must see the paths.
        scaling: who works, and where.
        work: the step's work folders.
        device: MOSO_DEVICE; of a step that is handed over, the cluster's own counts.
        stop: raised by SIGTERM.

    Raises:
        ConfigError: a device that the scaling does not give; fewer samples in a batch than workers.
    """
    if scaling.hands_over:
        from components.on_cluster import run as hand_over  # it needs `identity`

        hand_over(step, config, inputs, outputs, scaling, stop)
        return
    if device not in ("auto", "cuda" if scaling.gpus_per_worker else "cpu"):
        raise ConfigError(
            "MOSO_DEVICE",
            device,
            f"does not go with ray.gpus_per_worker = {scaling.gpus_per_worker}",
            "unset it: workers compute on the GPUs that they are given, and without any on CPUs",
        )
    key = work_key(identity(step, config, inputs))
    print(f"{step}: {batches(config, scaling.workers)}, on Ray ({scaling.address})", file=sys.stderr, flush=True)
    arguments = {
        "step": step,
        "key": key,
        "config": to_dict(config),
        "inputs": {name: str(path.absolute()) for name, path in inputs.items()},
        "outputs": {name: str(path.absolute()) for name, path in outputs.items()},
        "work": str(work),
        "one_machine": scaling.address == "local",
    }
    storage = scaling.storage or str(work / "ray")
    plan = Plan(
        title=step,
        name=key,
        workers=scaling.workers,
        gpus_per_worker=scaling.gpus_per_worker,
        cpus_per_worker=scaling.cpus_per_worker,
        address=scaling.address,
        storage=storage if storage.startswith("s3://") else str(Path(storage).absolute()),
        max_failures=scaling.max_failures,
        keep=getattr(getattr(config, "training", None), "keep_checkpoints", 1),
    )
    fit("components.on_ray:in_worker", arguments, plan, stop)


def batches(config: Any, workers: int) -> str:
    """The effective batch and its shares, as a line of the log says it.

    Raises:
        ConfigError: fewer samples in a batch than workers.
    """
    training = getattr(config, "training", None)
    if training is None:
        return f"batches of {config.batch} clips, dealt to {workers} workers"
    if training.batch < workers:
        raise ConfigError(
            "ray.workers", workers, f"a batch has {training.batch} samples", f"at most {training.batch} workers"
        )
    least, more = divmod(training.batch, workers)
    share = f"{least}" if not more else f"{least} or {least + 1}"
    return f"effective batch {training.batch}: {workers} workers with {share} samples each"


def in_worker(arguments: Mapping[str, Any], context: Context) -> None:
    """What each worker runs: the step, in the context that Ray's worker and the environment describe.

    Args:
        arguments: of `run`.
        context: world, stop signal, device, checkpoints.
    """
    step, world = arguments["step"], context.world
    settle_torch(context.device)
    module = importlib.import_module(MODULE.format(step=step))
    # Work folders need not be shared: each machine has its own, and what it lacks comes from the storage. Where they
    # are shared, a machine that was cut off still holds its own, and nobody can ask it whether it lives.
    context.work = Path(arguments["work"]) / ("" if arguments["one_machine"] else socket.gethostname())
    context.workers = worker_processes()
    if world.rank == 0:
        _wait_until_free(WorkFolder(context.work, arguments["key"]))
        context.tracker = tracker()
    world.barrier()
    config = build(module.Config, arguments["config"], step)
    inputs, outputs = ({n: Path(p) for n, p in arguments[kind].items()} for kind in ("inputs", "outputs"))
    with finishing(context.tracker):
        module.run(config, inputs, outputs, context)


def _wait_until_free(work: WorkFolder) -> None:
    """Until the worker that was killed and held the folder has really ended."""
    begun = time.monotonic()
    while True:
        try:
            with work:
                return
        except CheckpointError:
            if time.monotonic() - begun > ORPHAN_S:
                raise
            time.sleep(0.5)


def identity(step: str, config: Any, inputs: Paths) -> dict[str, Any]:
    """The identity that the step itself gives its work folder."""
    code = importlib.import_module(MODULE.format(step=step)).__file__
    assert code is not None
    digests = {name: read_provenance(path)["digest"] for name, path in inputs.items()}
    return run_identity(step, config, digests, code=Path(code))
