"""What the images install is the lock's, and enough for the steps that run in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.image_requirements import FOLDER, LOCK, TARGETS, closure, requirements

ROOT = Path(__file__).parents[2]
RUNS_IN = {
    "data": ("ingest", "preprocess"),
    "train": ("train_vqvae", "extract_tokens", "train_transformer", "evaluate"),
    "serve": ("promote",),
}


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("target", TARGETS)
def test_the_committed_list_is_what_would_be_written(target: str) -> None:
    assert (FOLDER / f"{target}.txt").read_text() == requirements(target), (
        "run `python -m components.image_requirements --write`"
    )


@pytest.mark.parametrize("target", TARGETS)
def test_every_line_is_one_of_the_lock(target: str) -> None:
    pins = {line.partition(";")[0].strip() for line in lines(LOCK)}
    assert set(lines(FOLDER / f"{target}.txt")) <= pins


def test_the_image_for_data_has_neither_torch_nor_what_torch_alone_brings() -> None:
    names = {line.partition("==")[0] for line in lines(FOLDER / "data.txt")}
    assert not names & {"torch", "torchvision", "sympy", "networkx", "mlflow", "ray"}


@pytest.mark.parametrize(
    ("target", "packages"),
    [
        ("data", {"kfp", "av", "h5py", "mujoco-core", "boto3"}),
        ("train", {"torch", "ray", "kfp", "mlflow"}),
        ("serve", {"torch", "mlflow", "kfp"}),
    ],
)
def test_an_image_has_what_it_is_for(target: str, packages: set[str]) -> None:
    assert packages <= {line.partition("==")[0] for line in lines(FOLDER / f"{target}.txt")}


@pytest.mark.parametrize("target", TARGETS)
def test_a_step_imports_only_what_its_image_has(target: str) -> None:
    """Every package that is installed here and not in the image is hidden, and the steps still import."""
    code = f"""
import importlib.metadata, sys
from packaging.utils import canonicalize_name
kept = {{line.partition("==")[0] for line in open({str(FOLDER / f"{target}.txt")!r}) if line[0] != "#"}} | {{"moso"}}
by_module = importlib.metadata.packages_distributions()
hidden = [m for m, owners in by_module.items() if not any(canonicalize_name(o) in kept for o in owners)]
assert "pytest" in hidden and {"torch" if target == "data" else "dvc"!r} in hidden
sys.modules.update(dict.fromkeys(hidden))  # None: the import of it fails
for step in {RUNS_IN[target]}:
    __import__(f"components.{{step}}.step")
from components import main
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_step_of_the_image_without_torch_runs_by_hand(tmp_path: Path) -> None:
    """Its command line looks at all settings together; those of the other steps cannot be read without torch."""
    code = """
import sys
sys.modules["torch"] = None  # the import of it fails
from components.ingest.step import Config
from components.main import main
main("ingest", Config, lambda config, inputs, outputs, context: print(config.spec.name, outputs["episodes"]))
"""
    command = [
        sys.executable,
        "-c",
        code,
        "--params",
        str(ROOT / "params.yaml"),
        "--specs",
        str(ROOT / "data" / "specs"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MOSO_TRACKING": "off"}
    done = subprocess.run(
        [*command, "--out", "episodes=x"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "sim_push x\n"), done.stderr


def test_what_a_package_brings_is_followed_through_extras_and_markers() -> None:
    names = closure(["ray[train]>=2.60"])
    assert {"ray", "tensorboardx", "pandas"} <= names, "the extra's own needs are missing"
    assert "colorama" not in closure(["click"]), "click needs it on Windows alone"
    assert closure(["torch"], without=["torch"]) == set()
