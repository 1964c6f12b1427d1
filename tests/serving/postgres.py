"""A PostgreSQL of a test's own, on loopback, from Debian's package; nothing of it is left afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running_server import free_port

USER = "mlflow"


def programs() -> Path:
    """The folder of initdb and pg_ctl; the test is skipped where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return folders[-1]


@contextlib.contextmanager
def running(password: str) -> Iterator[str]:
    """The address of a new database, which asks for the password."""
    pytest.importorskip("psycopg2", reason="psycopg2-binary, MLflow's driver of PostgreSQL, is not installed")
    where, port = programs(), free_port()
    with tempfile.TemporaryDirectory(prefix="moso-postgres-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        plain: dict[str, Any] = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            plain["user"] = plain["group"] = "postgres"
            shutil.chown(folder, "postgres", "postgres")
        secret = folder / "password"
        secret.write_text(password)
        secret.chmod(0o644)  # of a folder that only its owner may enter
        data = folder / "data"
        accounts = ["-U", USER, "--pwfile", secret, "-A", "scram-sha-256"]
        subprocess.run([where / "initdb", "-D", data, *accounts, "--no-sync", "-E", "UTF8"], **plain)
        settings = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
        control = [where / "pg_ctl", "-D", data, "-w"]
        subprocess.run([*control, "-o", settings, "-l", folder / "log", "start"], **plain)
        try:
            yield f"postgresql+psycopg2://{USER}:{password}@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **plain)
