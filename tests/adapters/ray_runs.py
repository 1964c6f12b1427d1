"""Steps as a person runs them, on a small frame cache, with or without Ray; and their workers' processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from moso.frames.cache import FORMAT, VERSION, FrameCacheWriter
from moso.provenance import write_provenance

ROOT = Path(__file__).parents[2]


def frame_cache(folder: Path, size: int = 32) -> Path:
    """A cache of ten episodes, by default in the size of sim_push's preset `tiny`: a square moves over a gradient."""
    ground = np.linspace(0, 120, size, dtype=np.uint8)[None, :, None].repeat(size, 0).repeat(3, 2)
    with FrameCacheWriter(folder, height=size, width=size, fps=10.0) as writer:
        for number in range(10):
            frames = np.stack([ground] * 12)
            for t in range(12):
                frames[t, (2 * t + 3 * number) % 24 :][:8, (5 * number) % 24 :][:, :8] = (250, 20 * number, 128)
            writer.add(f"seed_{number:06d}", "validation" if number > 7 else "train", frames)
    write_provenance(folder, format=FORMAT, version=VERSION, step="preprocess", config={}, inputs={})
    return folder


class Run:
    """One step's folder with its params.yaml, work folders and output.

    Args:
        folder: made where it is not there.
        step: its name.
        inputs: name -> folder.
        output: the name of its only output.
        section: of params.yaml, laid over sim_push's preset `tiny`.
    """

    def __init__(self, folder: Path, step: str, inputs: Mapping[str, Path], output: str, **section: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.step, self.inputs = folder, step, dict(inputs)
        self.output = folder / output
        self.started: list[subprocess.Popen[str]] = []
        params = {"dataset": "sim_push", "preset": "tiny", "seed": 0, step: section}
        (folder / "params.yaml").write_text(yaml.safe_dump(params))

    def start(self, ray: Mapping[str, Any] | None = None, **environment: str) -> subprocess.Popen[str]:
        """The step's process; its errors go to <folder>/errors, which later starts append to."""
        command = [sys.executable, "-m", f"components.{self.step}.step"]
        command += [part for name, path in self.inputs.items() for part in ("--in", f"{name}={path}")]
        command += ["--out", f"{self.output.name}={self.output}"]
        command += ["--params", str(self.folder / "params.yaml"), "--specs", str(ROOT / "data" / "specs")]
        settings = {
            "MOSO_TRACKING": "off",
            "MOSO_DEVICE": "cpu",
            "MOSO_WORK": str(self.folder / "work"),
            "MOSO_RAY": json.dumps(ray or {}),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        with (self.folder / "errors").open("a") as errors:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **settings, **environment},
                stdout=errors,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], status: int = 0) -> None:
        """Wait for its end, which must be with `status`."""
        assert process.wait(timeout=600) == status, self.errors()

    def errors(self) -> str:
        """All that the run has said."""
        return (self.folder / "errors").read_text()

    def checkpoints(self) -> list[int]:
        """Steps of the checkpoints in the work folder."""
        return sorted(int(p.name[5:]) for p in self.folder.glob(f"work/{self.step}/*/checkpoints/step_*"))

    def until(self, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Wait until the condition holds, while the process runs."""
        while not condition():
            assert process.poll() is None, self.errors()
            time.sleep(0.05)

    def workers(self, process: subprocess.Popen[str]) -> list[psutil.Process]:
        """The processes of Ray Train's workers that this run started."""
        try:
            family = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in family if "RayTrainWorker" in _title(child)]


def end(process: subprocess.Popen[str]) -> None:
    """Kill what a failed test left: the run's process and, as its parent is gone, all that Ray started for it."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        for child in family:
            if child.is_running():
                child.kill()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""
