"""A step handed whole to a Ray cluster that this machine is no part of, by a folder that both mount (`ray.shared`).

Here, in a Kubeflow pod, say: `run` lays the inputs there, has the cluster run this module on its head, follows the
job's log and brings the output back. There the same step runs as DVC runs it, on Ray's workers.

    <shared>/<step>-<digest of config, inputs and code>/
        task.json  inputs/<name>/  outputs/<name>/  work/  ray/

A step that is started again, after its pod was killed, say, finds the folder by its name and the job by the folder's:
it goes on with both. The folder is removed when the output has been brought back; what stays is an empty lock file in
`held` for each, and `gone`, where folders are removed. A kill in the middle of that, before the step has told that it
is done, costs the output on the shared folder: the step, started again, does its work anew.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.main import STOPPED, call, ending
from components.on_ray import batches, identity
from components.scaling import ENVIRONMENT, Scaling
from moso.adapters.ray import TOLD, RayError, require_ray, show_token
from moso.adapters.redact import redact
from moso.config import to_dict
from moso.disk import link_or_copy
from moso.errors import ConfigError, MismatchError, StopRequested
from moso.lock import hold
from moso.provenance import FILE, atomic_folder, digest_json, write_json
from moso.step import Paths, StopSignal
from moso.training.work import work_key

if TYPE_CHECKING:
    from moso.adapters.ray_jobs import Ended

TASK, GONE = "task.json", "gone"
SEEN_S = 120.0
"""How long a folder that another machine wrote may stay unseen: NFS remembers for a minute that there was none."""


def run(step: str, config: Any, inputs: Paths, outputs: Paths, scaling: Scaling, stop: StopSignal) -> None:
    """Have the cluster at scaling.address run the step.

    Args:
        step: one of components.scaling.STEPS.
        config, inputs, outputs: the step's; inputs are folders that a step has written.
        scaling: who works, and where; its `hands_over` holds.
        stop: raised by SIGTERM: the job is stopped, and writes its checkpoint.

    Raises:
        StopRequested: the job was stopped, and can go on.
        ConfigError: the shared folder is not there, or cannot be written to.
        RayError: the cluster is away or refuses; or the job failed, with its own line.
    """
    require_ray()
    show_token()
    from moso.adapters.ray_jobs import Jobs

    said = batches(config, scaling.workers)
    key = work_key(identity(step, config, inputs))
    jobs = Jobs.at(scaling.address)
    shared = _shared(scaling)
    name = f"{step}-{digest_json([key, str(shared)])[:24]}"
    # Two pods with the same step to do, of two runs of one pipeline, say: the second one must not find half a folder.
    with _holding(_made(shared / "held" / key), stop):
        folder = _made(folder_of(shared, key))
        while (found := jobs.running(name)) or not done(folder, outputs):
            job = found
            if job is None:
                task = lay_out(folder, key, step, config, inputs, outputs, stop)
                command = f"exec python -m components.on_cluster {step} {shlex.quote(str(task))}"
                job = jobs.submit(name, command, environment(folder, scaling))
            _say(f"{step}: {said}, on the Ray cluster at {scaling.address} (job {job})")
            ended = jobs.follow(job, stop)
            # Stopped for the pod before this one, which was killed while it waited: that is no stop of this step.
            if not (found and was_stopped(ended) and not stop):
                judge(step, scaling.address, ended)
                break
            _say(
                f"{step}: {job} was stopped, for a pod before this one; it is submitted anew (to end it, stop this pod)"
            )
        for output, path in outputs.items():
            bring_back(_seen(folder / "outputs" / output), path)
        remove(folder)


def folder_of(shared: Path, key: str) -> Path:
    """Where the step of that key is handed over; what a kill left of `remove` is gone."""
    for left in shared.glob(f"{GONE}/{key}*"):
        shutil.rmtree(left, ignore_errors=True)
    return shared / key


def remove(folder: Path) -> None:
    """Take `folder` away as a whole first: half of an input under its name would be trained on by the next try.

    What cannot be removed is told and left: the step is done.
    """
    gone = folder.parent / GONE / f"{folder.name}-{secrets.token_hex(4)}"
    try:
        gone.parent.mkdir(exist_ok=True)
        folder.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        left = gone if os.path.exists(gone) else folder  # Path.exists raises where it may not look
        _say(f"{left} cannot be removed ({error.strerror}) and is yours to delete")


def done(folder: Path, outputs: Paths) -> bool:
    """Whether the cluster has written all outputs, while nobody was there to bring them back, say. Each is whole."""
    return all((folder / "outputs" / name / FILE).is_file() for name in outputs)


def lay_out(folder: Path, key: str, step: str, config: Any, inputs: Paths, outputs: Paths, stop: StopSignal) -> Path:
    """Copy the inputs into `folder`, each whole or not at all, and write what is to be done; returns that file.

    What an earlier try left whole is not copied again: the folder's name holds the inputs' digests.

    Raises:
        StopRequested: the stop signal was raised.
    """
    for name, path in inputs.items():
        if not (folder / "inputs" / name).exists():
            copy_whole(path, folder / "inputs" / name, stop)
    for name in outputs:  # of a try whose output was never brought back
        shutil.rmtree(folder / "outputs" / name, ignore_errors=True)
    task = {
        "step": step,
        "key": key,
        "config": to_dict(config),
        "inputs": {name: str(folder / "inputs" / name) for name in inputs},
        "outputs": {name: str(folder / "outputs" / name) for name in outputs},
    }
    write_json(folder / TASK, task)
    return folder / TASK


def copy_whole(source: Path, target: Path, stop: StopSignal) -> None:
    """`target` as a copy of the folder `source`, by hard links where the file system has them.

    Raises:
        StopRequested: the stop signal was raised; there is no `target` then.
    """

    def copy(file: str, to: str) -> None:
        if stop:
            raise StopRequested(f"while {source} was copied to {target}")
        link_or_copy(os.path.realpath(file), to)  # a link into DVC's cache leads nowhere on another machine

    with atomic_folder(target) as partial:
        shutil.copytree(source, partial, copy_function=copy, dirs_exist_ok=True)


def bring_back(source: Path, target: Path) -> None:
    """`target` as what the cluster wrote to `source`, whole or not at all."""
    copy_whole(source, target, StopSignal())  # a whole output is worth more than a quick end


def environment(folder: Path, scaling: Scaling) -> dict[str, str]:
    """Variables of the job: names and addresses alone, for the cluster's page shows them.

    A file of this machine as MLflow's address would be another file there: it is not told.
    """
    ray = {**to_dict(scaling), "address": "auto", "storage": scaling.storage or str(folder / "ray"), "shared": None}
    told = {}
    for name in TOLD:
        value = os.environ.get(name)
        if value is None:
            continue
        if redact(value, name) != value:
            _say(f"{name} holds a secret: the cluster is not told it, its own counts")
        elif name == "MLFLOW_TRACKING_URI" and _is_file(value):
            _say(f"{name} is a file of this machine: the cluster is not told it, its own counts")
        else:
            told[name] = value
    if "MLFLOW_TRACKING_URI" not in told and told.get("MOSO_TRACKING") != "off":
        _say("where the cluster has no MLFLOW_TRACKING_URI of its own, the step's record stays on the cluster's head")
    return {
        **told,
        "MOSO_WORK": str(folder / "work"),
        "MOSO_DEVICE": "auto",  # of the workers, by what they are given
        ENVIRONMENT: json.dumps(ray),
    }


def judge(step: str, address: str, ended: Ended) -> None:
    """Return where the job has done the step; its own line otherwise.

    Raises:
        StopRequested: it was stopped.
        RayError: it failed.
    """
    if ended.status == "SUCCEEDED":
        return
    own = ended.line.startswith(f"{step}: ")
    line = ended.line.removeprefix(f"{step}: ")
    if was_stopped(ended):
        raise StopRequested(f"the job {ended.job} on {address}")
    if own and ended.exit_code == 1:
        raise RayError(line)
    how = "before its command ran" if ended.exit_code is None else f"with exit status {ended.exit_code}"
    raise RayError(f"the job {ended.job} on {address} ended {how}: {line}; run it again to go on")


def was_stopped(ended: Ended) -> bool:
    """Whether the job ended because it was asked to."""
    return ended.status == "STOPPED" or ended.exit_code == STOPPED


def _is_file(tracking_uri: str) -> bool:
    """Whether MLflow takes the address for a file or a folder."""
    scheme, colon, _ = tracking_uri.partition(":")
    return scheme in ("sqlite", "file") if colon else not scheme.startswith("databricks")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _shared(scaling: Scaling) -> Path:
    assert scaling.shared is not None
    shared = Path(scaling.shared)
    if not shared.is_dir():
        rule, remedy = "is no folder here", "mount the claim that the cluster has (cluster.yaml's volumes)"
        raise ConfigError("ray.shared", scaling.shared, rule, remedy)
    return shared


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


@contextmanager
def _holding(folder: Path, stop: StopSignal) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(hold(folder, "handing a step over", wait=True, stop=stop))
        except OSError as error:
            raise _unwritable(folder, error) from None
        yield


def _unwritable(folder: Path, error: OSError) -> Exception:
    """What to raise for it: a full disk, say, is no matter of rights."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return error
    remedy = "make it writable for the user of the pods and of the cluster"
    return ConfigError("ray.shared", str(folder), f"cannot be written to ({error.strerror})", remedy)


def _seen(folder: Path) -> Path:
    """`folder`, which another machine has written, once this one sees it.

    Raises:
        RayError: it does not come.
    """
    begun = time.monotonic()
    while not (folder / FILE).is_file():
        if time.monotonic() - begun > SEEN_S:
            raise RayError(f"the cluster says that {folder} is written, and it is not here; mount the same claim there")
        time.sleep(0.5)
    return folder


def there(step: str, path: Path) -> None:
    """What the job runs: the step that the file `path` describes; ends the process as `components.main.ending` says."""
    with ending(step):
        if not path.is_file():
            remedy = "mount the claim of ray.shared at the same path in its pods"
            raise RayError(f"the cluster does not see {path}; {remedy}")
        task: Mapping[str, Any] = json.loads(path.read_text())
        check_code(task)
    call(step, task["config"], task["inputs"], task["outputs"])


def check_code(task: Mapping[str, Any]) -> None:
    """Refuse a step of other code than the one that was handed over.

    Raises:
        MismatchError: the code of step or package differs.
    """
    inputs = {name: Path(path) for name, path in task["inputs"].items()}
    if work_key(identity(task["step"], task["config"], inputs)) != task["key"]:
        raise MismatchError("the cluster has other code than the pod that handed this step over; give both one image")


if __name__ == "__main__":
    there(sys.argv[1], Path(sys.argv[2]))
