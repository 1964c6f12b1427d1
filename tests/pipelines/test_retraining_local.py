"""The retraining pipeline in Kubeflow's local runner, tiny: nothing new; Stage I kept; Stage I retrained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from moso.adapters.mlflow_registry import Registry
from moso.provenance import read_provenance
from moso.retraining.lease import FolderPlace, take
from pipelines import demo_retrain as demo

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A first run whose model is the champion; `retrain` runs the pipeline, `done` are its runs by name."""
    folder = tmp_path_factory.mktemp("retraining-local")
    uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    params = demo.params_of(folder / "raw") | {"train_vqvae": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    demo.arrive(folder / "raw", demo.BASE, demo.seeds_of(0, 4, 2, 6))
    patch = pytest.MonkeyPatch()
    changed = {"MLFLOW_TRACKING_URI": uri, "MOSO_WORK": str(folder / "work"), "MOSO_WORKERS": "1"}
    for name, value in changed.items():
        patch.setenv(name, value)
    patch.delenv("MOSO_WEBHOOK", raising=False)
    demo.first_run(params, folder / "outputs")
    (folder / "data").symlink_to(ROOT / "data")

    def retrain(name: str, **settings: Any) -> SimpleNamespace:
        file = demo.write_settings(folder, least_episodes=4, least_test_episodes=2, **settings)
        first = [f"--first-{one}={folder / 'outputs' / one}" for one in ("episodes", "frames")]
        options = [f"--settings={file}", f"--state={folder / 'state'}", f"--output={folder / name}", *first]
        command = [sys.executable, "-m", "moso.cli", "pipeline", "run-local", "retraining", *options]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        found = (path for path in (folder / name).glob("*/*/*") if path.name != "executor_output.json")
        names = {path.parent.name: path for path in found}
        return SimpleNamespace(status=done.returncode, output=done.stdout + done.stderr, tasks=names)

    yield SimpleNamespace(folder=folder, state=folder / "state", retrain=retrain, registry=Registry(uri))
    patch.undo()


@pytest.fixture(scope="module")
def quiet(project: SimpleNamespace) -> SimpleNamespace:
    return project.retrain("quiet")


@pytest.fixture(scope="module")
def kept(project: SimpleNamespace, quiet: SimpleNamespace) -> SimpleNamespace:
    demo.arrive(project.folder / "raw", demo.OTHER, demo.seeds_of(1000, 3, 0, 2))
    return project.retrain("kept", vqvae_bound_db=100.0)


@pytest.fixture(scope="module")
def retrained(project: SimpleNamespace, kept: SimpleNamespace) -> SimpleNamespace:
    demo.arrive(project.folder / "raw", demo.OTHER, demo.seeds_of(2000, 3, 0, 2))
    return project.retrain("retrained", vqvae_bound_db=0.0)


def _result(run: SimpleNamespace, task: str = "decide") -> dict[str, Any]:
    """What it decided; the task of that name in the branch with Stage I retrained is the graph's second, decide-2."""
    assert run.status == 0, run.output[-6000:]
    found: dict[str, Any] = json.loads(run.tasks[task].read_text())
    return found


def test_without_new_episodes_looking_and_telling_are_all(quiet: SimpleNamespace) -> None:
    assert quiet.status == 0, quiet.output[-6000:]
    assert "nothing new: 0 new episodes, 4 are asked for" in quiet.output
    assert "preprocess" not in quiet.tasks


def test_new_episodes_end_in_a_decision_over_both_test_sets(project: SimpleNamespace, kept: SimpleNamespace) -> None:
    result = _result(kept)
    assert result["outcome"] in ("promoted", "kept", "refused")
    assert set(result["compared"]) == {"frozen", "new"}
    assert result["new_episodes"] == 5
    assert "train-vqvae" not in kept.tasks
    (ended,) = project.state.glob("runs/*/result.json")
    assert json.loads(ended.read_text()) == result
    promoted = result["outcome"] == "promoted"
    assert (project.registry.by_alias(demo.NAME, "champion").number == 1) == (not promoted)


def test_stage_2_starts_from_the_champion_s(project: SimpleNamespace, kept: SimpleNamespace) -> None:
    _result(kept)
    first = read_provenance(project.folder / "outputs" / "transformer")["digest"]
    assert read_provenance(kept.tasks["train-transformer"])["inputs"]["parent"] == first


def test_a_stage_1_that_draws_new_data_worse_is_retrained_from_the_champion_s(
    project: SimpleNamespace, kept: SimpleNamespace, retrained: SimpleNamespace
) -> None:
    result = _result(retrained, "decide-2")
    assert result["drift"]["reconstruction_psnr"]["difference"] < 0
    vqvae = read_provenance(retrained.tasks["train-vqvae"])
    assert vqvae["inputs"]["parent"]
    assert "parent" not in read_provenance(retrained.tasks["train-transformer-2"])["inputs"]


def test_the_lock_is_let_go_of_and_moso_retrain_knows_what_the_pipeline_has_seen(
    project: SimpleNamespace, retrained: SimpleNamespace
) -> None:
    _result(retrained, "decide-2")
    take(FolderPlace(project.state), 1.0).release()
    paths = {"params": "params.yaml", "settings": "retraining.yaml", "data": "outputs", "state": "state"}
    options = [f"--{name}={project.folder / value}" for name, value in paths.items()]
    command = [sys.executable, "-m", "moso.cli", "retrain", *options]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True)
    assert "nothing new: 0 new episodes" in done.stdout, done.stderr


def test_while_another_retrains_the_run_fails_and_leaves_its_lock(project: SimpleNamespace, retrained: Any) -> None:
    lease = take(FolderPlace(project.state), 600.0)
    done = project.retrain("locked")
    lease.release()
    assert done.status == 1
    assert "held by" in done.output
