"""What is installed and shipped, and that the folder mlflow/ never gets between us and the package."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_folder_mlflow_holds_no_python() -> None:
    assert list((ROOT / "mlflow").rglob("*.py")) == []


@pytest.mark.parametrize("arguments", [["-c"], ["-P", "-c"]], ids=["from the root", "safe path"])
def test_the_folder_mlflow_does_not_shadow_the_package(arguments: list[str]) -> None:
    code = "from importlib.util import find_spec; print(find_spec('mlflow').origin)"
    found = subprocess.run(
        [sys.executable, *arguments, code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert ROOT / "mlflow" not in Path(found.strip()).parents
    assert Path(found.strip()).name == "__init__.py"


def test_an_init_file_in_the_folder_mlflow_would_shadow_the_package(tmp_path: Path) -> None:
    """Why the rule above exists; where this stops being true, the rule may go."""
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").write_text("shadow = True")
    code = "import mlflow; print(hasattr(mlflow, 'shadow'))"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def test_the_wheel_ships_moso_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("moso", "components", "pipelines"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; build_meta.build_wheel('../wheels')"
    (tmp_path / "wheels").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entries,) = [archive.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"moso"}
    assert {"moso/presets/paper.yaml", "moso/presets/sim_push/default.yaml", "moso/presets/kth/128.yaml"} <= set(names)
    assert "moso = moso.cli:main" in entries
    assert "simulate = moso.cli.simulate:command" in entries
    assert "pipelines" not in entries


def make(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    return subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )


def fake_python(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"PYTHON={path}"


def test_setup_refuses_a_python_that_the_lock_does_not_cover(tmp_path: Path) -> None:
    python = fake_python(tmp_path / "python3", 'case "$*" in *--version*) echo "Python 3.9.2";; *) exit 1;; esac')
    result = make("setup", python, f"VENV={tmp_path / 'venv'}")
    assert result.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in result.stdout
    assert "Python 3.9.2" in result.stdout


def test_setup_says_what_to_install_where_debian_left_ensurepip_out(tmp_path: Path) -> None:
    python = fake_python(
        tmp_path / "python3", f'case "$*" in *ensurepip*) exit 1;; *) exec {sys.executable} "$@";; esac'
    )
    result = make("setup", python, f"VENV={tmp_path / 'venv'}")
    assert result.returncode != 0
    assert "apt-get install python3-venv" in result.stdout
    assert not (tmp_path / "venv").exists()


def test_help_lists_the_targets() -> None:
    listed = make("help").stdout
    for target in ("setup", "repro", "test", "lint", "clean", "help"):
        assert f"make {target}" in listed


def test_every_locked_package_is_pinned_exactly() -> None:
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        requirement = line.split(";")[0].strip()
        assert not requirement or requirement.startswith("#") or "==" in requirement, line
        assert "file:" not in line
        assert "/" not in requirement
