"""A Ray cluster over hosts, made by `ray start` as on real machines: a head, others that join, a token for all."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.hosts import Host, wait_until

ROOT = Path(__file__).resolve().parents[2]
RAY = (sys.executable, str(Path(__file__).with_name("patient_ray.py")))
PORT = 6379
STARTED = "Ray runtime started."
AGAIN = "Local node IP"
# Ports that a node is told, and need not wait for: where the machine is busy, its raylet gives up on agents that take
# over 15 s to say theirs. Each host has ports of its own.
PORTS = {
    "dashboard-agent-grpc-port": 52366,
    "dashboard-agent-listen-port": 52367,
    "metrics-export-port": 52368,
    "runtime-env-agent-port": 52369,
}
START_S = 300  # where the machine is busy; ten seconds where it is not

# docs/ray.md, "Two machines", says what each of them does. Here everything that runs on a host gets them; on a cluster
# they belong in the environment of `ray start`.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Where the machine is busy:
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}


class Cluster:
    """Hosts of which the first is Ray's head; each offers one CPU."""

    def __init__(self, hosts: Sequence[Host], logs: Path) -> None:
        self.hosts, self.logs = list(hosts), logs
        self.address = f"{hosts[0].address}:{PORT}"
        self.token = secrets.token_hex(32)

    def start_head(self) -> None:
        """Make the first host the head and wait until it answers."""
        head = self.hosts[0]
        self._ray_start(head, "--head", f"--port={PORT}", "--include-dashboard=false", "--no-monitor")
        self._wait_for_start(head)
        with (self.logs / "nodes.log").open("wb") as log:
            watch = [sys.executable, str(Path(__file__).with_name("watch_nodes.py")), self.address]
            head.start(watch, log, ENVIRONMENT, ROOT)
        self.wait_for_nodes(1)

    def join(self, host: Host, *, token: str | None = None) -> subprocess.Popen[bytes]:
        """Start Ray on another host; with another token it is not let in. The process ends with Ray."""
        return self._ray_start(host, f"--address={self.address}", token=token)

    def complete(self) -> None:
        """Start Ray again on the hosts that have lost it, and wait until all nodes are there."""
        for host in self.hosts[1:]:
            if not host.processes(b"/raylet"):
                self.join(host)
                self._wait_for_start(host)
        self.wait_for_nodes(len(self.hosts))

    def wait_for_nodes(self, count: int, seconds: float = START_S) -> None:
        """Wait until so many nodes are alive, no more and no less, as the head tells it."""
        wait_until(f"{count} living nodes", lambda: self.nodes() == count, seconds, every=0.5)

    def nodes(self) -> int:
        """Living nodes, as the head told it last."""
        counts = [line for line in (self.logs / "nodes.log").read_text().splitlines() if line.isdigit()]
        return int(counts[-1]) if counts else 0

    def _wait_for_start(self, host: Host) -> None:
        log = self.logs / f"ray-{host.name}.log"
        wait_until(f"Ray on {host.name}", lambda: STARTED in log.read_text().rpartition(AGAIN)[2], START_S, every=1)

    def _ray_start(self, host: Host, *options: str, token: str | None = None) -> subprocess.Popen[bytes]:
        path = host.own / ".ray" / "auth_token"
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(token or self.token)
        ports = [f"--{name}={port}" for name, port in PORTS.items()]
        command = [*RAY, "start", *options, *ports, f"--node-ip-address={host.address}", "--num-cpus=1", "--block"]
        with (self.logs / f"ray-{host.name}.log").open("ab") as log:
            return host.start([*command, "--object-store-memory=100000000"], log, ENVIRONMENT, ROOT)
