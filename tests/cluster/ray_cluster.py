"""A Ray cluster over hosts, made by `ray start` as on real machines: a head, others that join, a token for all."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.hosts import Host, wait_until

ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
PORT = 6379
STARTED = "Ray runtime started."
TRIES = 3  # Ray gives its node 30 s to start, unchangeably, which is not enough where the machine is busy
# Ports that a node is told, and need not wait for: where the machine is busy, its raylet gives up on agents that take
# over 15 s to say theirs. Each host has ports of its own.
PORTS = {
    "dashboard-agent-grpc-port": 52366,
    "dashboard-agent-listen-port": 52367,
    "metrics-export-port": 52368,
    "runtime-env-agent-port": 52369,
}
START_S = 300  # where the machine is busy; ten seconds where it is not

# Ray's own limits are too short where the machine is busy.
PATIENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}
# docs/ray.md, "Two machines", says what each of them does. Here everything that runs on a host gets them; on a cluster
# they belong in the environment of `ray start`.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
    **PATIENT,
}


class Cluster:
    """Hosts of which the first is Ray's head; each offers one CPU.

    Args:
        hosts: those of the cluster; none of them runs Ray yet.
        logs: an existing folder for what Ray says, a file a host.
    """

    def __init__(self, hosts: Sequence[Host], logs: Path) -> None:
        self.hosts, self.logs = list(hosts), logs
        self.address = f"{hosts[0].address}:{PORT}"
        self.token = secrets.token_hex(32)

    def start_head(self) -> None:
        """Make the first host the head, and wait until it answers."""
        head = self.hosts[0]
        self._start(head, "--head", f"--port={PORT}", "--include-dashboard=false", "--no-monitor")
        with (self.logs / "nodes.log").open("wb") as log:
            watch = [sys.executable, str(Path(__file__).with_name("watch_nodes.py")), self.address]
            head.start(watch, log, ENVIRONMENT, ROOT)
        self.wait_for_nodes(1)

    def complete(self) -> None:
        """Make all hosts nodes again: what was cut off is joined, and Ray started anew on all but the head."""
        if self.nodes() == len(self.hosts):
            return
        for host in self.hosts[1:]:
            host.mend()
            for raylet in host.processes(b"/raylet"):
                os.kill(raylet, signal.SIGKILL)
        self.wait_for_nodes(1)
        for host in self.hosts[1:]:
            self._start(host, f"--address={self.address}")
        self.wait_for_nodes(len(self.hosts))

    def wait_for_nodes(self, count: int, seconds: float = START_S) -> None:
        """Wait until so many nodes are alive, no more and no less, as the head tells it."""
        wait_until(f"{count} living nodes", lambda: self.nodes() == count, seconds, every=0.5)

    def nodes(self) -> int:
        """Living nodes, as the head told it last."""
        counts = [line for line in (self.logs / "nodes.log").read_text().splitlines() if line.isdigit()]
        return int(counts[-1]) if counts else 0

    def start_ray(self, host: Host, *options: str, token: str | None = None) -> tuple[subprocess.Popen[bytes], Path]:
        """`ray start` on a host, by default with the cluster's token; its process, which ends with Ray, and its log."""
        path = host.own / ".ray" / "auth_token"
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(token or self.token)
        ports = [f"--{name}={port}" for name, port in PORTS.items()]
        command = [RAY, "start", *options, *ports, f"--node-ip-address={host.address}", "--num-cpus=1", "--block"]
        log = self.logs / f"ray-{host.name}-{len(list(self.logs.glob(f'ray-{host.name}-*')))}.log"
        with log.open("wb") as file:
            return host.start([*command, "--object-store-memory=100000000"], file, ENVIRONMENT, ROOT), log

    def _start(self, host: Host, *options: str) -> None:
        for _ in range(TRIES):
            process, log = self.start_ray(host, *options)
            wait_until(
                f"Ray on {host.name}: it started, or gave up",
                lambda process=process, log=log: STARTED in log.read_text() or process.poll() is not None,
                START_S,
            )
            if process.poll() is None:
                return
        raise AssertionError(log.read_text()[-4000:])
