"""Real hosts on a real network: `make test-cluster`, and only then (minutes). Needs root, ip, unshare and nsenter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.hosts import missing

ROOT = Path(__file__).parents[2]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: hosts in network namespaces; `make test-cluster` runs them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "cluster" in (config.getoption("markexpr") or ""):
        return
    out = [item for item in items if item.get_closest_marker("cluster")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frame cache of the tiny configuration, made by its own steps."""
    if reason := missing():
        pytest.fail(reason, pytrace=False)
    folder = tmp_path_factory.mktemp("data")
    (folder / "params.yaml").write_text("{dataset: sim_push, preset: tiny, seed: 0}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MOSO_TRACKING": "off"}
    for step, paths in (
        ("ingest", ["--out", "episodes=episodes"]),
        ("preprocess", ["--in", "episodes=episodes", "--out", "frames=frames"]),
    ):
        command = [sys.executable, "-m", f"components.{step}.step", "--specs", str(ROOT / "data" / "specs"), *paths]
        subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder / "frames"
