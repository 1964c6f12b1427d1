"""Retraining, tiny: nothing new, a kill in the middle, the same retraining gone on with, and what it left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from moso.adapters.mlflow_registry import Registry
from moso.errors import ConfigError
from moso.provenance import read_provenance
from pipelines import demo_retrain as demo
from pipelines.retrain_settings import RetrainSettings, load_settings

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FIRST, STATE = "data/sim_push", ".retraining/sim_push"  # where `moso lineage` looks


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A first run whose model is the champion; `retrain` starts the command, `settings` its file."""
    folder = tmp_path_factory.mktemp("retraining")
    uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    changed = {"MLFLOW_TRACKING_URI": uri, "MOSO_WORK": str(folder / "work"), "MOSO_WORKERS": "1"}
    params = demo.params_of(folder / "raw") | {"train_vqvae": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    demo.arrive(folder / "raw", demo.BASE, demo.seeds_of(0, 4, 2, 6))
    patch = pytest.MonkeyPatch()
    for name, value in changed.items():
        patch.setenv(name, value)
    patch.delenv("MOSO_WEBHOOK", raising=False)
    demo.first_run(params, folder / FIRST)
    settings = demo.write_settings(
        folder, vqvae_bound_db=100.0, least_episodes=4, lease_minutes=0.05, least_test_episodes=2
    )

    def retrain() -> subprocess.Popen[str]:
        paths = {"params": "params.yaml", "settings": settings.name, "data": FIRST, "state": STATE}
        options = [f"--{name}={folder / value}" for name, value in paths.items()]
        command = [sys.executable, "-m", "moso.cli", "retrain", f"--specs={ROOT / 'data/specs'}", *options]
        return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    yield SimpleNamespace(folder=folder, state=folder / STATE, retrain=retrain, registry=Registry(uri))
    patch.undo()


def _ended(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output[-4000:]
    return output


def _champion(project) -> int:
    return project.registry.by_alias(demo.NAME, "champion").number


def _wait_for(found, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 600
    while not found():
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture(scope="module")
def quiet(project):
    """What the command says where nothing has come, and where too little has."""
    first = _ended(project.retrain())
    demo.arrive(project.folder / "raw", demo.OTHER, demo.seeds_of(500, 1, 1, 1))
    return first, _ended(project.retrain())


@pytest.fixture(scope="module")
def killed(project, quiet):
    """The retraining killed while Stage II trains; what the champion was then, and the tokens' inode."""
    demo.arrive(project.folder / "raw", demo.OTHER, demo.seeds_of(1000, 3, 0, 2))
    process = project.retrain()
    _wait_for(lambda: list((project.folder / "work" / "train_transformer").glob("*")), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (run,) = (project.state / "runs").iterdir()
    going_on = json.loads((project.state / "current.json").read_text())["id"]
    return SimpleNamespace(
        run=run,
        champion=_champion(project),
        tokens=(run / "tokens" / "store.json").stat().st_ino,
        ended=(run / "result.json").exists(),
        going_on=going_on,
    )


@pytest.fixture(scope="module")
def done(project, killed):
    """The next call, once the killed one's lock has expired; its output and result."""
    time.sleep(3.5)
    output = _ended(project.retrain())
    return SimpleNamespace(output=output, result=json.loads((killed.run / "result.json").read_text()))


def test_without_new_files_nothing_is_read_or_trained(quiet, project):
    assert "nothing new: 0 new episodes, 4 are asked for" in quiet[0]


def test_fewer_than_n_episodes_are_nothing_new_and_count_the_next_time(quiet, done):
    assert "nothing new: 3 new episodes, 4 are asked for" in quiet[1]
    assert done.result["new_episodes"] == 3 + 5


def test_a_kill_halfway_leaves_the_champion_and_a_retraining_to_go_on_with(killed):
    assert killed.champion == 1
    assert not killed.ended
    assert killed.going_on == killed.run.name


def test_the_next_call_goes_on_with_the_same_retraining_and_does_nothing_twice(project, killed, done):
    assert (killed.run / "tokens" / "store.json").stat().st_ino == killed.tokens
    assert [path.name for path in (project.state / "runs").iterdir()] == [killed.run.name]
    assert not (project.state / "current.json").exists()
    assert done.result["outcome"] in ("promoted", "kept", "refused")
    assert (_champion(project) == 1) == (done.result["outcome"] != "promoted")


def test_the_cache_is_extended_and_the_old_shards_are_the_same_files(project, killed, done):
    old, new = (folder / "shards" for folder in (project.folder / FIRST / "frames", killed.run / "frames"))
    assert len(list(new.iterdir())) > len(list(old.iterdir()))
    for path in old.rglob("*.npy"):
        assert (new / path.relative_to(old)).samefile(path)


def test_the_candidate_names_its_parent_and_keeps_the_champion_s_stage_i(project, killed, done):
    first = {name: read_provenance(project.folder / FIRST / name)["digest"] for name in ("vqvae", "transformer")}
    candidate = {name: read_provenance(killed.run / "candidate" / name) for name in ("vqvae", "transformer")}
    assert candidate["transformer"]["inputs"]["parent"] == first["transformer"]
    assert candidate["vqvae"]["digest"] == first["vqvae"]


def test_candidate_and_champion_are_measured_under_one_protocol_on_both_test_sets(killed, done):
    for name in ("frozen", "new"):
        protocols = {
            who: json.loads((killed.run / "reports" / name / who / "metrics.json").read_text())["protocol_digest"]
            for who in ("candidate", "champion")
        }
        assert len(set(protocols.values())) == 1
    assert set(done.result["compared"]) == {"frozen", "new"}


def test_the_registry_holds_the_old_champion_s_figures_and_the_candidate_s_on_the_frozen_set(project, killed, done):
    """Also where the candidate was promoted: a rollback brings the old champion back."""
    for who, number in (("champion", 1), ("candidate", done.result["version"])):
        filed = json.loads((killed.run / "reports" / "frozen" / who / "metrics.json").read_text())
        held = project.registry.lookup(f"models:/{demo.NAME}/{number}").record()
        assert held["protocol_digest"] == filed["protocol_digest"]


def test_the_drift_of_dusk_shows_as_a_metric_and_on_a_page(killed, done):
    brightness = json.loads((killed.run / "drift.json").read_text())["brightness"]
    assert brightness["new"] < brightness["training"] - 20
    assert brightness["shift"] < -2
    assert f"{brightness['new']:.4g}" in (killed.run / "drift.html").read_text()


def test_the_lineage_of_what_was_retrained_is_whole_down_to_both_manifests(project, done):
    reference = f"models:/{demo.NAME}/{done.result['version']}"
    asked = [sys.executable, "-m", "moso.cli", "lineage", reference, "--project", str(project.folder), "--json"]
    found = subprocess.run(asked, cwd=project.folder, capture_output=True, text=True, check=False)
    links = json.loads(found.stdout)
    assert [(link["what"], link["state"], link["note"]) for link in links if link["state"] != "verified"] == []
    assert found.returncode == 0
    assert [link["what"] for link in links].count("manifest") == 2


def test_a_second_call_has_nothing_to_do(project, done):
    assert "nothing new: 0 new episodes" in _ended(project.retrain())


def test_two_at_once_one_is_refused(project, done):
    from moso.retraining.lease import FolderPlace, take

    lease = take(FolderPlace(project.state), 600.0)
    process = project.retrain()
    output, _ = process.communicate(timeout=300)
    lease.release()
    assert process.returncode == 1
    assert "held by" in output


def test_the_file_of_settings_holds_what_the_schema_does():
    assert load_settings() == RetrainSettings()


@pytest.mark.parametrize(
    "wrong", [{"least_episodes": 0}, {"judge": "both"}, {"tolerance_db": float("nan")}, {"lease_minutes": 0}]
)
def test_a_wrong_setting_is_refused_by_its_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RetrainSettings(**wrong)
