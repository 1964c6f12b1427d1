"""The outside of every step: command line, context, errors. DVC, Kubeflow and a person at a shell all come by here.

    python -m components.preprocess.step --in episodes=data/sim_push/episodes --out frames=data/sim_push/frames

Environment: MOSO_DEVICE (auto, cpu, cuda …), MOSO_TRACKING=off (record nothing), MOSO_WORK (work folders, .work),
MOSO_WORKERS (processes that read recordings; by default one a core), MOSO_RAY (JSON, laid over params.yaml's `ray`),
MLFLOW_TRACKING_URI (a tracking server; the default is a database in mlruns/ of the current folder).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from components.config import load_params, resolve, resolve_all
from moso.allocator import keep_freed_memory
from moso.config import build
from moso.disk import is_full
from moso.errors import ConfigError, MosoError, StopRequested
from moso.step import Context, Paths, StopSignal
from moso.tracking import NullTracker, Tracker
from moso.workers import available_cores

MODULE = "components.{step}.step"
STOPPED = 143  # what a shell reports for SIGTERM: the caller sees "interrupted", not "failed"
Run = Callable[[Any, Paths, Paths, Context], None]


class NamedPaths(dict[str, Path]):
    """name -> path; a name that was not given is an error that says how to give it."""

    def __init__(self, step: str, option: str, pairs: Mapping[str, Path]) -> None:
        super().__init__(pairs)
        self.step, self.option = step, option

    def __missing__(self, name: str) -> NoReturn:
        raise ConfigError(
            f"{self.option} {name}", None, f"{self.step} needs this path", f"add {self.option} {name}=PATH"
        )


def main(step: str, schema: type, run: Run, arguments: Sequence[str] | None = None) -> NoReturn:
    """Command line of one step; ends the process.

    Exit status: 0 done, otherwise that of `ending`.
    """
    with ending(step):
        parsed = _parser(step).parse_args(arguments)
        params = load_params(parsed.params)
        config: Any = resolve(step, schema, params, parsed.specs)
        # The image `data` has no torch, which the other steps' settings need: there they stay to those steps to check.
        if importlib.util.find_spec("torch") is not None:
            resolve_all(params, parsed.specs)
        inputs = NamedPaths(step, "--in", dict(parsed.inputs))
        outputs = NamedPaths(step, "--out", dict(parsed.outputs))
        execute(step, run, config, inputs, outputs, params.get("ray"))
    sys.exit(0)


def call(
    step: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    ray: Mapping[str, Any] | None = None,
) -> None:
    """The same step from a resolved config in plain data: the body of every Kubeflow component.

    Args:
        step: the step's name.
        config: its resolved section (`pipelines.training.arguments` makes it).
        inputs: name -> path of each input.
        outputs: name -> path to write each output to.
        ray: params.yaml's `ray` (components/scaling.py), for the steps that several workers can run.

    Where the step fails by an error that a person must mend, the process ends as `ending` says.
    """
    with ending(step):
        module = importlib.import_module(MODULE.format(step=step))
        named_inputs = NamedPaths(step, "input", {name: Path(path) for name, path in inputs.items()})
        named_outputs = NamedPaths(step, "output", {name: Path(path) for name, path in outputs.items()})
        execute(step, module.run, build(module.Config, config, step), named_inputs, named_outputs, ray)


@contextlib.contextmanager
def ending(step: str) -> Iterator[None]:
    """What a person must do something about ends the process with one line on stderr, so that a pod's log ends in it.

    Exit status: 1 after a MosoError or a full disk, 143 where the step was stopped on request. Anything else is a bug
    and keeps its traceback.
    """
    try:
        yield
    except StopRequested as stop:
        _say(step, f"stopped; run it again to go on ({stop})")
        sys.exit(STOPPED)
    except MosoError as error:
        _say(step, str(error))
        sys.exit(1)
    except Exception as error:
        if not is_full(error):
            raise
        where = getattr(error, "filename", None) or "the disk of the outputs, or of the work folders (MOSO_WORK)"
        why = getattr(error, "strerror", None) or os.strerror(errno.ENOSPC)
        _say(step, f"{where}: {why}; make room there and run it again: it goes on")
        sys.exit(1)


def _say(step: str, line: str) -> None:
    print(f"{step}: {line}", file=sys.stderr, flush=True)


def show(report: str, metrics: Any, page: Any) -> None:
    """Put a report's figures and page where Kubeflow shows them.

    Args:
        report: the folder that evaluate wrote.
        metrics: a kfp `Metrics` artifact.
        page: a kfp `HTML` artifact.
    """
    figures = json.loads((Path(report) / "metrics.json").read_text())
    for model, values in figures.items():
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if isinstance(value, float):
                metrics.log_metric(f"{model}.{name}", value)
    shutil.copyfile(Path(report) / "index.html", page.path)


def execute(
    step: str, run: Run, config: Any, inputs: Paths, outputs: Paths, ray: Mapping[str, Any] | None = None
) -> None:
    """Run a step in the context that the environment describes, or by Ray's workers, where `ray` or MOSO_RAY ask so."""
    # By name, as in components.config: how a step runs is no part of what it computes.
    scaling = importlib.import_module("components.scaling")
    asked = scaling.asked(ray)
    device = os.environ.get("MOSO_DEVICE", "auto")
    work = Path(os.environ.get("MOSO_WORK", ".work")).absolute() / step
    stop = StopSignal()
    stop.listen()
    if asked.on_ray and step in scaling.STEPS:
        importlib.import_module("components.on_ray").run(step, config, inputs, outputs, asked, work, device, stop)
        return
    settle_torch(device)
    context = Context(work=work, tracker=tracker(), stop=stop, device=device, workers=worker_processes())
    with finishing(context.tracker):
        run(config, inputs, outputs, context)


@contextlib.contextmanager
def finishing(tracker: Tracker) -> Iterator[None]:
    """What ends the body by an error ends the tracked run too."""
    try:
        yield
    except BaseException as error:
        tracker.finish("KILLED" if isinstance(error, (StopRequested, KeyboardInterrupt)) else "FAILED")
        raise


def worker_processes() -> int:
    """MOSO_WORKERS, or one process a core.

    Raises:
        ConfigError: it is no number of processes.
    """
    text = os.environ.get("MOSO_WORKERS")
    if not text:
        return available_cores()
    if not text.isdigit() or int(text) < 1:
        raise ConfigError("MOSO_WORKERS", text, "must be a number of processes, 1 or more", "unset it: one a core")
    return int(text)


def settle_torch(device: str) -> None:
    """Threads and determinism, where the step imported torch at all (ingest does not wait for it)."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(available_cores())
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        torch.use_deterministic_algorithms(True)
        # by default it also fills fresh memory, to show where it is read unwritten: 3% of a training step
        torch.utils.deterministic.fill_uninitialized_memory = False
        keep_freed_memory()


def tracker() -> Tracker:
    """MLflow, or with MOSO_TRACKING=off nothing."""
    if os.environ.get("MOSO_TRACKING") == "off":
        return NullTracker()
    from moso.adapters.mlflow_tracking import MlflowTracker, default_tracking_uri

    return MlflowTracker(default_tracking_uri(Path.cwd()))


def _parser(step: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m components.{step}.step", description=f"The step {step}.")
    parser.add_argument("--in", dest="inputs", action="append", default=[], type=named_path, metavar="NAME=PATH")
    parser.add_argument("--out", dest="outputs", action="append", default=[], type=named_path, metavar="NAME=PATH")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="default: params.yaml")
    parser.add_argument("--specs", type=Path, default=Path("data/specs"), help="folder of data set specs")
    return parser


def named_path(text: str) -> tuple[str, Path]:
    """The value of an option `--in` or `--out`: NAME=PATH."""
    name, found, path = text.partition("=")
    if not (name and found and path):
        raise argparse.ArgumentTypeError(f"{text!r}: must be NAME=PATH")
    return name, Path(path)
