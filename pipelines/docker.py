"""KFP's local runner with containers: each step in its own image, the pipeline's folder mounted.

Podman behind Docker's socket works too (shared/tools/container-engine gives one).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moso.errors import DataError

if TYPE_CHECKING:
    from kfp.local import DockerRunner

USER = 10001
"""Of components/Dockerfile: what a step runs as where the caller is root, whom no step should run as."""
PASSED_ON = ("MLFLOW_", "AWS_", "MOSO_", "OMP_NUM_THREADS")
"""Environment variables (these, or all that begin so) that a container gets from the caller."""
NOT_PASSED_ON = ("MOSO_GIT_COMMIT", "MOSO_IMAGE", "MOSO_REGISTRY")
"""Of them, what speaks of this machine or is set in the image."""


def docker_runner(folder: Path, mounts: Mapping[Path, Path] | None = None) -> DockerRunner:
    """The runner for `kfp.local.init`, which mounts `folder` (its pipeline_root) at the same path.

    Steps run as the calling user, so that they may write into the folder and the caller owns what they wrote; where
    that is root, as the image's plain user, whom the folder is given to. MLFLOW_*, AWS_*, MOSO_* and OMP_NUM_THREADS of
    the caller go with them; MOSO_WORK and MLFLOW_TRACKING_URI lie in the folder where they are not set, or nothing of
    them would outlive a step.

    Args:
        folder: the pipeline's root, an absolute path; made where missing.
        mounts: what else a step sees, read only: path here -> path in the container (raw recordings, say).

    Raises:
        DataError: no Docker answers.
    """
    from kfp.local import DockerRunner

    folder.mkdir(parents=True, exist_ok=True)
    user, group = os.getuid(), os.getgid()
    if user == 0:
        user = group = USER
        _give(folder, user, group)
    arguments: dict[str, Any] = {"user": f"{user}:{group}", "environment": environment(folder)}
    if mounts:
        from docker.types import Mount  # type: ignore[import-untyped]

        arguments["mounts"] = [Mount(str(to), str(here), type="bind", read_only=True) for here, to in mounts.items()]
    return DockerRunner(**arguments, **engine_arguments())


def environment(folder: Path, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a step's container.

    Args:
        folder: the pipeline's root.
        given: the caller's environment; None takes this process's.
    """
    given = os.environ if given is None else given
    own = {
        name: value
        for name, value in given.items()
        if name.startswith(PASSED_ON) and not name.startswith(NOT_PASSED_ON)
    }
    database = folder / "mlruns" / "mlflow.db"
    return {"MOSO_WORK": str(folder / "work"), "MLFLOW_TRACKING_URI": f"sqlite:///{database}", **own}


def engine_arguments() -> dict[str, Any]:
    """What containers need on this machine's engine: nothing with Docker; with Podman the host's network and limits.

    Podman as a plain service can neither make networks nor raise limits in every sandbox (that of
    shared/tools/container-engine cannot).

    Raises:
        DataError: no Docker answers.
    """
    import docker  # type: ignore[import-untyped]

    try:
        client = docker.from_env()
        components = client.version().get("Components") or []
        client.close()
    except docker.errors.DockerException as error:
        raise DataError(
            f"no Docker answers at {os.environ.get('DOCKER_HOST', 'its usual socket')} ({error}): start it, or set "
            "DOCKER_HOST, or run the pipeline without containers (moso pipeline run-local)"
        ) from None
    if not any("Podman" in component.get("Name", "") for component in components):
        return {}
    limits = [docker.types.Ulimit(name="nofile", soft=1024, hard=4096)]
    limits.append(docker.types.Ulimit(name="nproc", soft=4096, hard=8192))
    return {"network_mode": "host", "ulimits": limits}


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Turn a failure of the engine into a DataError of one line: an image that is nowhere, an engine that went away."""
    import docker

    try:
        yield
    except docker.errors.ImageNotFound as error:
        reason = " ".join(str(error.explanation or error).split())
        raise DataError(
            f"an image is missing ({reason}): build the three with `make images`, or say where they are by "
            "MOSO_REGISTRY (components/images.py)"
        ) from error
    except docker.errors.DockerException as error:
        reason = " ".join(str(error).split())
        raise DataError(f"Docker failed ({reason}); look at it with `docker info`, then run it again") from error


def _give(folder: Path, user: int, group: int) -> None:
    """Make `user` the owner of `folder` and of all in it that is root's."""
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid == 0:
            os.chown(path, user, group, follow_symlinks=False)
