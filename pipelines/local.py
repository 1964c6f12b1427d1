"""Run the pipelines with KFP's local runners: each step a process of this environment, or a container."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moso.errors import ConfigError, MosoError

RUNNERS = ("subprocess", "docker")


def run_local(arguments: Mapping[str, Any], folder: Path, runner: str = "subprocess") -> Path:
    """Run the seven steps and return the folder of the report.

    Args:
        arguments: `pipelines.training.arguments`.
        folder: where the steps' outputs go, made where missing. Work folders lie in it, too.
        runner: one of RUNNERS; "docker": the images of components/Dockerfile.

    Raises:
        MosoError: a step failed or left no output.
    """
    from pipelines.training import training_pipeline

    _run(training_pipeline(), arguments, folder, runner)
    return report_of(folder)


def run_retraining(arguments: Mapping[str, Any], folder: Path, runner: str = "subprocess") -> dict[str, Any]:
    """Run the retraining pipeline; how it ended: "outcome", "text" and what else result.json holds.

    Args:
        arguments: `pipelines.retraining.arguments`.
        folder, runner: as of `run_local`.

    Raises:
        MosoError: a task failed.
    """
    from pipelines.retraining import retraining_pipeline

    def told() -> set[Path]:
        return set(Path(arguments["state"]).glob("told/*.json"))

    before = told()
    _run(retraining_pipeline(), arguments, folder, runner)
    new = told() - before
    if not new:
        raise MosoError(f"{folder}: the retraining did not end; the task that failed is named in the log above")
    found: dict[str, Any] = json.loads(new.pop().read_text())
    return found


def _run(pipeline: Any, arguments: Mapping[str, Any], folder: Path, runner: str) -> None:
    from kfp import local

    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MOSO_WORK", str(folder.resolve() / "work"))
    local.init(runner=_runner(runner, folder.resolve()), pipeline_root=str(folder.resolve()), raise_on_error=False)
    with _engine_errors(runner):
        pipeline(**arguments)


def _engine_errors(runner: str) -> contextlib.AbstractContextManager[None]:
    """A missing image, or an engine that is away, in one line."""
    if runner != "docker":
        return contextlib.nullcontext()
    from pipelines.docker import engine_errors

    return engine_errors()


def _runner(name: str, folder: Path) -> Any:
    from kfp import local

    if name == "subprocess":
        return local.SubprocessRunner(use_venv=False)
    if name == "docker":
        from pipelines.docker import docker_runner

        return docker_runner(folder)
    raise ConfigError("--runner", name, "is no runner", f"known: {', '.join(RUNNERS)}")


def report_of(folder: Path) -> Path:
    """The report folder below `folder`: the newest that a whole run wrote.

    The runner calls a task a success whose outputs are gone, so it is the files that count.
    """
    promotions = sorted(folder.glob("*/promote/promotion"), key=lambda path: path.stat().st_mtime)
    if not promotions:
        raise MosoError(f"{folder}: the pipeline did not end; the step that failed is named in the log above")
    report = promotions[-1].parent.parent / "evaluate" / "report"
    json.loads((report / "metrics.json").read_text())
    return report
