"""A Ray cluster of one machine whose head answers the Jobs API on loopback, made by `ray start`, with a token."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.cluster.ray_cluster import PATIENT, STARTED, TRIES

BIN = Path(sys.executable).parent
PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
    "metrics-export-port",
    "runtime-env-agent-port",
)
ENVIRONMENT = {**PATIENT, "RAY_AUTH_MODE": "token", "PATH": f"{BIN}:{os.environ['PATH']}"}


class Head:
    """The head, with two CPUs.

    Attributes:
        address: of the Jobs API.
        token: what a client must show.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(32)
        # Not pytest's folder: a socket's path may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="moso-ray-"))
        for _ in range(TRIES):
            ports = free_ports()
            self.address = f"http://127.0.0.1:{ports['dashboard-port']}"
            if self._start(ports):
                return
        raise AssertionError(self.said())

    def said(self) -> str:
        """What `ray start` said."""
        return (self.folder / "start.log").read_text()[-4000:]

    def end(self) -> None:
        """End Ray, and all that runs on it."""
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def drivers(self) -> list[psutil.Process]:
        """The processes of steps that were handed over."""
        family = psutil.Process(self._process.pid).children(recursive=True)
        return [child for child in family if "components.on_cluster" in " ".join(_words(child))]

    def _start(self, ports: dict[str, int]) -> bool:
        command = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"]
        command += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", "--object-store-memory=100000000"]
        command += [f"--temp-dir={self.folder}", *(f"--{name}={port}" for name, port in ports.items())]
        environment = {**os.environ, **ENVIRONMENT, "RAY_AUTH_TOKEN": self.token}
        environment.pop("RAY_ADDRESS", None)
        with (self.folder / "start.log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        while self._process.poll() is None:
            if STARTED in self.said():
                return True
            try:
                self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        return False

    def _kill(self) -> None:
        if self._process.poll() is None:
            family = psutil.Process(self._process.pid).children(recursive=True)
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            for child in family:
                if child.is_running():
                    child.kill()


def free_ports() -> dict[str, int]:
    """A free port on loopback for each of `PORTS`."""
    with ExitStack() as bound:
        sockets = [bound.enter_context(socket.socket()) for _ in PORTS]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: one.getsockname()[1] for name, one in zip(PORTS, sockets, strict=True)}


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
