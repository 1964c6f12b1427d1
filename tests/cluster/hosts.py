"""Hosts on one machine: each has its own network, process numbers, host name and disk; a switch joins them.

A host is a process of `unshare` with a network interface `eth0`. Everything that runs on it lives in its process
namespace and dies with it, and networks without a name go with their last process: nothing is left behind, even where
the tests are killed. Needs root and the commands ip, unshare, nsenter, setpriv (Debian: iproute2, util-linux).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

COMMANDS = ("ip", "unshare", "nsenter", "setpriv")
NETWORK = "10.99.16"


def missing() -> str | None:
    """Why no hosts can be made here; None where they can."""
    if os.geteuid() != 0:
        return "hosts in network namespaces need root"
    absent = [command for command in COMMANDS if shutil.which(command) is None]
    return f"no command {', '.join(absent)}: apt-get install iproute2 util-linux" if absent else None


@dataclass(frozen=True)
class Host:
    """One machine.

    Attributes:
        name: its host name, which every host resolves to its address.
        address: on the network that the switch joins.
        disk: a folder of its own; every host has it at this same path, and finds its own files there.
        own: the same folder as seen from outside.
        init: process number, as seen from outside, of its first process.
        switch: the same of the switch's.
    """

    name: str
    address: str
    disk: Path
    own: Path
    init: int
    switch: int

    def start(
        self, command: Sequence[str], output: IO[bytes] | int, environment: Mapping[str, str], folder: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command here, in `folder`; it lives no longer than the host."""
        enter = ["nsenter", f"--target={self.init}", "--net", "--mount", "--pid", "--uts", "--ipc", f"--wdns={folder}"]
        return subprocess.Popen(
            [*enter, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(self.disk), **environment},
        )

    def cut(self) -> None:
        """Pull the cable: packets are lost, and nobody is told."""
        _in_network(self.switch, "ip", "link", "set", self.name, "down")

    def mend(self) -> None:
        """Plug the cable in again."""
        _in_network(self.switch, "ip", "link", "set", self.name, "up")

    def processes(self, program: bytes) -> list[int]:
        """Numbers, as seen from outside, of the processes here in whose command (its first word) `program` is."""
        mine = os.readlink(f"/proc/{self.init}/ns/pid")
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it ended meanwhile
                here = entry.name.isdigit() and os.readlink(entry / "ns/pid") == mine
                if here and program in (entry / "cmdline").read_bytes().partition(b"\0")[0]:
                    found.append(int(entry.name))
        return found


@contextlib.contextmanager
def hosts(names: Sequence[str], folder: Path) -> Iterator[list[Host]]:
    """As many hosts as names (15 characters at most), joined by one switch; they and all that runs there end with it.

    Args:
        names: host names.
        folder: an existing folder, seen by every host (a file server, so to speak); the disks are kept in it.
    """
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(
            _first_process(["--net", "--pid"], "ip link add bridge type bridge && ip link set bridge up")
        )
        resolve = folder / "hosts"
        addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, 1)}
        resolve.write_text("127.0.0.1 localhost\n" + "".join(f"{a} {n}\n" for n, a in addresses.items()))
        disk = folder / "disk"
        disk.mkdir()
        made = []
        for name, address in addresses.items():
            own = folder / f"disk-{name}"
            own.mkdir()
            prepare = (
                f"hostname {name} && mount --bind '{own}' '{disk}' && mount --bind '{resolve}' /etc/hosts && "
                "mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && mount -t tmpfs tmpfs /dev/shm"
            )
            init = stack.enter_context(
                _first_process(["--net", "--mount", "--pid", "--mount-proc", "--uts", "--ipc"], prepare)
            )
            _wire(switch, init, name, address)
            made.append(Host(name, address, disk, own, init, switch))
        yield made


@contextlib.contextmanager
def _first_process(namespaces: Sequence[str], prepare: str) -> Iterator[int]:
    """The first process of new namespaces, once `prepare` (for sh) has run in it; it dies with the one that asked."""
    script = f"set -e; {prepare}; ip link set lo up; echo ready; while :; do sleep 86400 & wait; done"
    with subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "unshare", "--fork", "--kill-child=KILL", *namespaces, "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as outside:
        try:
            assert outside.stdout
            assert outside.stderr
            if outside.stdout.readline() != "ready\n":
                raise RuntimeError(f"no namespaces: {outside.stderr.read()}")
            yield int(Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()[0])
        finally:
            outside.kill()


def _wire(switch: int, init: int, name: str, address: str) -> None:
    """A cable from a port of the switch, called after the host, to the host's eth0."""
    cable = ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(init)]
    _in_network(switch, *cable)
    _in_network(switch, "ip", "link", "set", name, "master", "bridge", "up")
    _in_network(init, "ip", "address", "add", f"{address}/24", "dev", "eth0")
    _in_network(init, "ip", "link", "set", "eth0", "up")


def _in_network(process: int, *command: str) -> None:
    subprocess.run(["nsenter", f"--target={process}", "--net", "--", *command], check=True)


def wait_until(what: str, happened: Callable[[], bool], seconds: float, *, every: float = 0.2) -> None:
    """Wait until `happened()` is true; after `seconds`, fail and say `what` did not happen."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
