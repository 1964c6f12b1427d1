"""The whole pipeline in containers: each step in its own image, as a plain user, the pipeline's folder mounted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from components.config import STEPS

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.containers
OUTPUTS = {
    "ingest": "episodes",
    "preprocess": "frames",
    "train_vqvae": "vqvae",
    "extract_tokens": "tokens",
    "train_transformer": "transformer",
    "evaluate": "report",
}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree's files, with the preset `tiny` in params.yaml."""
    folder = tmp_path_factory.mktemp("tree")
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump({**params, "preset": "tiny"}, sort_keys=False))
    return folder


@pytest.fixture(scope="session")
def environment(containers: Any) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MOSO_", "MLFLOW_", "PYTEST_", "AWS_"))}
    # One thread, so that a container and this environment give the same bits.
    own = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "1"}
    own |= {f"MOSO_IMAGE_{target.upper()}": name for target, name in containers.names.items()}
    return {**kept, **own, "PATH": f"{BIN}{os.pathsep}{kept['PATH']}"}


def run(tree: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def in_containers(tree: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """step -> folder of its outputs, of a run by kfp's DockerRunner."""
    root = tmp_path_factory.mktemp("in-containers")
    # pytest's folders are of the caller alone, and containers run as another user.
    for folder in (root, *root.parents):
        if folder.name.startswith("pytest-"):
            folder.chmod(0o711)
    run(tree, environment, "moso", "pipeline", "run-local", "--runner", "docker", "--output", str(root / "run"))
    (promotion,) = (root / "run").glob("*/promote/promotion")
    yield promotion.parent.parent
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def by_dvc(tree: Path, environment: dict[str, str], in_containers: Path) -> Path:
    """The tree after `dvc repro` of the same configuration in this environment."""
    run(tree, environment, "git", "init", "-q")
    run(tree, environment, "dvc", "repro")
    return tree


def folder_of(root: Path, step: str) -> Path:
    return root / step.replace("_", "-")


def test_containers_end_in_the_same_metrics_as_dvc(in_containers: Path, by_dvc: Path) -> None:
    metrics = json.loads((folder_of(in_containers, "evaluate") / "report" / "metrics.json").read_text())
    assert metrics["prediction"]["psnr"] > 0
    assert metrics == json.loads((by_dvc / "reports" / "metrics.json").read_text())


def test_every_output_of_a_container_is_byte_for_byte_that_of_dvc(in_containers: Path, by_dvc: Path) -> None:
    folders = {"frames": "data/sim_push/frames", "vqvae": "models/sim_push/vqvae", "tokens": "data/sim_push/tokens"}
    folders |= {"transformer": "models/sim_push/transformer", "report": "reports"}
    for step, name in OUTPUTS.items():
        if step != "ingest":
            inside = json.loads((folder_of(in_containers, step) / name / "provenance.json").read_text())
            outside = json.loads((by_dvc / folders[name] / "provenance.json").read_text())
            assert inside["digest"] == outside["digest"], name


def test_episodes_are_the_same_whatever_python_packed_them(in_containers: Path, by_dvc: Path) -> None:
    """Not the archives' bytes: zipfile writes other headers (zip64) from Python 3.11.4 on."""
    inside, outside = folder_of(in_containers, "ingest") / "episodes", by_dvc / "data" / "sim_push" / "episodes"
    assert (inside / "manifest.parquet").read_bytes() == (outside / "manifest.parquet").read_bytes()
    names = sorted(path.relative_to(inside) for path in inside.rglob("*.npz"))
    assert names
    for name in names:
        ours, theirs = np.load(inside / name), np.load(outside / name)
        for key in ("frames", "actions", "states"):
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_what_containers_wrote_belongs_to_a_plain_user(in_containers: Path) -> None:
    owner = os.getuid() or 10001
    for step in STEPS:
        files = [path for path in folder_of(in_containers, step).rglob("*") if path.is_file()]
        assert files, step
        assert {path.stat().st_uid for path in files} == {owner}, step


def test_the_model_is_registered_where_the_containers_were_told(in_containers: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{in_containers.parent / 'mlruns' / 'mlflow.db'}")
    version = client.get_model_version_by_alias("moso-sim_push-tiny", "champion")
    digest = json.loads((folder_of(in_containers, "evaluate") / "report" / "provenance.json").read_text())["digest"]
    assert version.tags["moso.report_digest"] == digest


def test_kubeflow_s_metrics_and_page_are_there(in_containers: Path) -> None:
    page = folder_of(in_containers, "evaluate") / "page"
    assert page.read_text().startswith("<!doctype html>")


def test_an_image_without_a_gpu_s_driver_that_is_asked_for_cuda_says_so_in_one_line(
    containers: Any, tree: Path, in_containers: Path, tmp_path: Path
) -> None:
    frames = folder_of(in_containers, "preprocess") / "frames"
    done = containers.run(
        "train",
        *("python", "-m", "components.train_vqvae.step", "--params", "/given/params.yaml", "--specs", "/given/specs"),
        *("--in", "frames=/frames", "--out", "vqvae=/work/vqvae"),
        environment={"MOSO_DEVICE": "cuda", "MOSO_TRACKING": "off"},
        volumes={
            str(frames): {"bind": "/frames", "mode": "ro"},
            str(tree / "params.yaml"): {"bind": "/given/params.yaml", "mode": "ro"},
            str(tree / "data" / "specs"): {"bind": "/given/specs", "mode": "ro"},
        },
    )
    assert done.status == 1
    assert done.err.count("\n") == 1, done.err
    assert "device = 'cuda'" in done.err
    assert "torch finds 0 GPUs here; this torch was built without CUDA: take an image of the variant cuda" in done.err


def test_a_full_disk_ends_in_one_line(containers: Any, tree: Path) -> None:
    done = containers.run(
        "data",
        *("python", "-m", "components.ingest.step", "--params", "/given/params.yaml", "--specs", "/given/specs"),
        *("--out", "episodes=/out/episodes"),
        environment={"MOSO_TRACKING": "off", "MOSO_WORK": "/out/work"},
        tmpfs={"/out": "size=128k,mode=1777"},
        volumes={
            str(tree / "params.yaml"): {"bind": "/given/params.yaml", "mode": "ro"},
            str(tree / "data" / "specs"): {"bind": "/given/specs", "mode": "ro"},
        },
    )
    assert done.status == 1
    assert "Traceback" not in done.err, done.err
    assert "No space left on device" in done.err
