"""The hosts themselves, before Ray: a network that joins them, and a cable that can be pulled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.hosts import Host, hosts, missing, wait_until

pytestmark = pytest.mark.cluster
SERVER = """
import socket
with socket.create_server(("", 5000)) as server:
    print("listens", flush=True)
    while True:
        server.accept()[0].close()
"""
CLIENT = "import socket, sys; socket.create_connection((sys.argv[1], 5000), 1)"


def reaches(host: Host, name: str) -> bool:
    """Whether a process on `host` can connect to the server on the host called `name`."""
    client = host.start([sys.executable, "-c", CLIENT, name], subprocess.DEVNULL, {}, Path("/"))
    return client.wait() == 0


def test_hosts_know_each_other_by_name_until_a_cable_is_pulled(tmp_path: Path) -> None:
    if reason := missing():
        pytest.fail(reason, pytrace=False)
    with hosts(["moso-a", "moso-b"], tmp_path) as (one, other):
        said = one.start(["hostname"], subprocess.PIPE, {}, Path("/")).communicate()[0]
        assert said == b"moso-a\n"
        server = other.start([sys.executable, "-c", SERVER], subprocess.PIPE, {}, Path("/"))
        assert server.stdout
        assert server.stdout.readline() == b"listens\n"
        assert reaches(one, "moso-b")
        assert not reaches(one, "moso-a")  # its own port 5000 is another one
        assert len(other.processes(b"python")) == 1
        assert one.processes(b"python") == []
        other.cut()
        assert not reaches(one, "moso-b")
        other.mend()
        wait_until("the cable works again", lambda: reaches(one, "moso-b"), 30)
    server.wait()  # it ends with its host


def test_each_host_finds_its_own_files_at_the_same_path(tmp_path: Path) -> None:
    if reason := missing():
        pytest.fail(reason, pytrace=False)
    with hosts(["moso-a", "moso-b"], tmp_path) as both:
        for host in both:
            assert (
                host.start(["sh", "-c", f"hostname >{host.disk}/name"], subprocess.DEVNULL, {}, Path("/")).wait() == 0
            )
        assert [(host.own / "name").read_text() for host in both] == ["moso-a\n", "moso-b\n"]
        assert both[0].disk == both[1].disk
