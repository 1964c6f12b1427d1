"""The command `moso`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from moso.cli import command

TASKS = (
    "predict", "rollout", "generate", "interpolate", "recombine", "decompose", "reconstruct", "encode", "decode",
)  # fmt: skip
NAMES = (*TASKS, "simulate", "info", "data", "pipeline")


def moso(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "moso.cli", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_help_lists_every_command_and_imports_nothing_that_takes_seconds(tmp_path: Path) -> None:
    code = """
import json, sys
from click.testing import CliRunner
from moso.cli import command
out = CliRunner().invoke(command, ["--help"]).output
print(json.dumps([out, sorted({name.split(".")[0] for name in sys.modules})]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    output, modules = json.loads(done.stdout)
    for name in NAMES:
        assert name in output
    assert not {"torch", "numpy", "pandas", "mlflow", "kfp", "pipelines", "components"} & set(modules)


def test_a_moso_error_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    done = moso("pipeline", "compile", "--check", "--output", str(tmp_path / "missing"))
    assert done.returncode == 1
    assert done.stderr.startswith("moso: ")
    assert done.stderr.count("\n") == 1


def test_a_misspelt_command_is_told_the_right_one() -> None:
    result = CliRunner().invoke(command, ["simulat"])
    assert result.exit_code == 2
    assert "did you mean 'simulate'?" in result.output


@pytest.mark.parametrize("name", NAMES)
def test_every_command_answers_help(name: str) -> None:
    result = CliRunner().invoke(command, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_the_help_of_a_task_imports_nothing_that_takes_seconds() -> None:
    code = f"""
import sys
from click.testing import CliRunner
from moso.cli import command
for name in {TASKS!r}:
    assert CliRunner().invoke(command, [name, "--help"]).exit_code == 0
print(*sorted({{name.split(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pandas", "av", "PIL", "mlflow"} & set(done.stdout.split())
