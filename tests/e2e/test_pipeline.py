"""The whole pipeline, tiny, in a temporary clone: run, run again, changed, killed, on Kubeflow's runner, loaded."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from components.config import STEPS
from moso.provenance import digest_folder

Clone = Any  # tests/e2e/conftest.py; pytest's importlib mode has no name to import it by

FOLDERS = {
    "episodes": "data/sim_push/episodes",
    "frames": "data/sim_push/frames",
    "vqvae": "models/sim_push/vqvae",
    "tokens": "data/sim_push/tokens",
    "transformer": "models/sim_push/transformer",
    "report": "reports",
}


def test_every_output_says_what_it_is_and_what_it_was_made_of(finished: Clone) -> None:
    for name, folder in FOLDERS.items():
        record = finished.read(f"{folder}/provenance.json")
        assert record["format"] == f"moso.{name}"
        for source, digest in record["inputs"].items():
            assert digest == finished.digest(FOLDERS[source]), f"{name} was made of other {source}"


def test_metrics_hold_prediction_baseline_and_ceiling(finished: Clone) -> None:
    metrics = finished.read("reports/metrics.json")
    for name in ("prediction", "repeat_last", "reconstruction"):
        assert 0 < metrics[name]["psnr"] < 100
        assert -1 < metrics[name]["ssim"] < 1
    page = (finished.folder / "reports" / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page.replace("https://www.w3.org", "")


def test_the_run_ends_in_the_benchmark_s_table_with_the_figures_of_metrics_json(finished: Clone) -> None:
    reports = finished.folder / "reports"
    ours = json.loads((reports / "metrics.json").read_text())["prediction"]
    table = (reports / "table.md").read_text()
    assert table.startswith("### sim_push 32, a run of a minute\n")
    assert f"| MOSO Pipeline | ours | {ours['psnr']:.1f} | {100 * ours['ssim']:.1f} |" in table


def test_git_sees_nothing_but_dvc_lock(finished: Clone) -> None:
    """Outputs, records and work folders are all ignored: a run leaves no litter to commit by mistake."""
    assert finished.run("git", "status", "--porcelain").stdout.split() == ["??", "dvc.lock"]


def test_a_second_run_does_nothing_and_make_says_so(finished: Clone) -> None:
    before = (finished.folder / "dvc.lock").read_bytes()
    output = finished.run(sys.executable, "-m", "pipelines.repro").stdout
    assert "Running stage" not in output
    assert "Nothing changed since the last run" in output
    assert (finished.folder / "reports" / "index.html").as_uri() in output
    assert '"models:/moso-sim_push-tiny@champion"' in output
    assert (finished.folder / "dvc.lock").read_bytes() == before


def as_dvc_shows(values: dict[str, Any]) -> dict[str, Any]:
    """What DVC shows of a metrics file."""
    return {
        name: as_dvc_shows(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None and value != {} and not isinstance(value, list)
    }


def test_dvc_shows_the_report_s_figures(finished: Clone) -> None:
    metrics = finished.read("reports/metrics.json")
    shown = json.loads(finished.run("dvc", "metrics", "show", "--json").stdout)
    assert shown[""]["data"]["reports/metrics.json"]["data"] == as_dvc_shows(metrics)
    plots = json.loads(finished.run("dvc", "plots", "show", "--json").stdout)
    assert not plots.get("errors")
    points = plots["data"]["prediction-psnr"][0]["content"]["data"]["values"]
    predicted = [float(point["psnr"]) for point in points if point["method"] == "prediction"]
    assert np.mean(predicted) == pytest.approx(metrics["prediction"]["psnr"], abs=1e-4)
    assert {"stage-1-loss", "stage-1-psnr", "stage-2-loss"} <= set(plots["data"])


def test_promoting_the_same_model_again_changes_nothing(finished: Clone) -> None:
    before = (finished.folder / "reports" / "promotion.json").read_bytes()
    assert finished.repro("--force", "--single-item", "promote") == ["promote"]
    assert (finished.folder / "reports" / "promotion.json").read_bytes() == before


def test_changing_a_value_reruns_only_what_depends_on_it_and_changing_it_back_restores(finished: Clone) -> None:
    before = finished.read("reports/metrics.json")
    finished.set("train_transformer.model", {"dropout": 0.0})
    assert finished.repro() == ["train_transformer", "evaluate", "promote"]
    assert finished.read("reports/metrics.json") != before
    other = finished.read("reports/promotion.json")
    finished.set("train_transformer.model", None)
    # promote alone is not restored from the run cache: its decision of before may not be the registry's any more.
    assert finished.repro() == ["promote"]
    assert finished.read("reports/metrics.json") == before
    again = finished.read("reports/promotion.json")
    history = json.loads(finished.run("moso", "registry", "history", again["model"], "--json").stdout)
    assert (history["whole"], history["fault"]) == (True, "")
    champion = history["aliases"]["champion"]
    assert (again["version"] == champion) is (again["decision"]["outcome"] in ("promoted", "already_champion"))
    digests = [decision["digest"] for decision in history["decisions"]]
    assert {other["log"]["digest"], again["log"]["digest"]} <= set(digests)
    assert finished.repro() == []


def test_changing_a_preset_reruns_only_what_depends_on_it(finished: Clone) -> None:
    preset = finished.folder / "moso" / "presets" / "sim_push" / "tiny.yaml"
    text = preset.read_text()
    try:
        preset.write_text(text.replace("promote: {model", "promote: {policy: {margin: 0.5}, model"))
        status = finished.run("dvc", "status", "dvc.yaml").stdout  # the ablations have not run here
    finally:
        preset.write_text(text)
    assert "promote" in status
    assert not any(step in status.replace("promote", "") for step in STEPS)


def test_a_broken_setting_of_any_step_is_refused_in_one_line_by_the_first(finished: Clone) -> None:
    finished.set("train_vqvae.model", {"pools": 4})
    done = subprocess.run(
        [sys.executable, "-m", "components.ingest.step", "--out", "episodes=unused"],
        cwd=finished.folder,
        env=finished.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    finished.set("train_vqvae.model", None)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "train_vqvae.model.pools = 4" in done.stderr
    assert not (finished.folder / "unused").exists()


@pytest.fixture(scope="session")
def kubeflow(finished: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of the same configuration run by Kubeflow's local runner: step -> folder of its artefacts."""
    folder = tmp_path_factory.mktemp("kubeflow")
    store = f"sqlite:///{folder / 'mlflow.db'}"
    finished.run("moso", "pipeline", "run-local", "--output", str(folder / "run"), MLFLOW_TRACKING_URI=store)
    (promotion,) = (folder / "run").glob("*/promote/promotion")
    return promotion.parent.parent


def test_kubeflow_ends_in_the_same_metrics_as_dvc(finished: Clone, kubeflow: Path) -> None:
    assert json.loads((kubeflow / "evaluate" / "report" / "metrics.json").read_text()) == finished.read(
        "reports/metrics.json"
    )


def test_two_runs_with_one_seed_give_identical_digests(finished: Clone, kubeflow: Path) -> None:
    """Kubeflow's run computed everything anew, from the simulation on, in folders of its own."""
    producers = {
        "episodes": "ingest",
        "frames": "preprocess",
        "vqvae": "train-vqvae",
        "tokens": "extract-tokens",
        "transformer": "train-transformer",
        "report": "evaluate",
    }
    for name, task in producers.items():
        record = json.loads((kubeflow / task / name / "provenance.json").read_text())
        assert record["digest"] == finished.digest(FOLDERS[name]), name


def test_a_training_killed_with_sigkill_goes_on_to_the_same_model(finished: Clone, tmp_path: Path) -> None:
    """dvc and the stage are killed together, as a machine that goes down would; `dvc repro` then ends the work."""
    vqvae = FOLDERS["vqvae"]
    before = finished.digest(vqvae)
    work = tmp_path / "work"
    environment = {**finished.environment, "MOSO_WORK": str(work)}
    command = ["dvc", "repro", "--force", "--single-item", "train_vqvae"]
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        command, cwd=finished.folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    while not checkpoints(work):
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (finished.folder / vqvae / "provenance.json").exists(), "the training was over before it was killed"
    written = checkpoints(work)
    assert written

    assert finished.repro("--force", "--single-item", "train_vqvae", MOSO_WORK=str(work)) == ["train_vqvae"]
    assert finished.digest(vqvae) == before
    assert finished.repro() == []


def checkpoints(work: Path) -> list[str]:
    """Whole checkpoints below a work folder (half-written ones have other names)."""
    found = work.glob("train_vqvae/*/checkpoints/*") if work.exists() else []
    return sorted(path.name for path in found if path.is_dir() and not path.name.startswith("."))


LOAD = """
import json, pathlib, sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/moso-sim_push-tiny@champion")
frames = np.load(sys.argv[2], allow_pickle=False)
one, again, other = (model.predict(frames, params={"seed": s}) for s in (0, 0, 1))
import moso
print(json.dumps({
    "shape": one.shape, "dtype": str(one.dtype), "same": bool((one == again).all()),
    "code": str(pathlib.Path(moso.__file__).parent), "steps": model.predict(frames, params={"steps": 1}).shape,
}))
"""


def test_the_registered_model_loads_in_a_fresh_process_outside_the_repository(finished: Clone, tmp_path: Path) -> None:
    store = yaml.safe_load(finished.run(sys.executable, "-c", STORE).stdout)
    example = finished.folder / "reports" / "example.npy"
    environment = {k: v for k, v in finished.environment.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, store, str(example)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout.splitlines()[-1])
    clips, given, height, width, _ = np.load(example).shape
    assert (given, height, width) == (2, 32, 32)
    assert result["shape"] == result["steps"] == [clips, 4, 32, 32, 3]
    assert result["dtype"] == "uint8"
    assert result["same"]
    # The code is the model's own, not this repository's.
    assert not Path(result["code"]).is_relative_to(Path(__file__).parents[2])


STORE = """
from pathlib import Path
from moso.adapters.mlflow_client import default_tracking_uri
print(default_tracking_uri(Path.cwd()))
"""


def test_another_data_set_s_outputs_never_delete_this_one_s(finished: Clone) -> None:
    frames = finished.digest(FOLDERS["frames"])
    spec = finished.folder / "data" / "specs" / "other.yaml"
    spec.write_text((spec.parent / "sim_push.yaml").read_text().replace("name: sim_push", "name: other"))
    presets = finished.folder / "moso" / "presets"
    shutil.copytree(presets / "sim_push", presets / "other")
    for preset in (presets / "other").glob("*.yaml"):  # a protocol is of one data set: without a name one is made
        preset.write_text(re.sub(r"protocol: \{name: .*?\}", "protocol: null", preset.read_text()))
    finished.set("dataset", "other")
    assert finished.repro("preprocess") == ["ingest", "preprocess"]
    other = finished.digest("data/other/frames")
    assert finished.read("data/other/frames/index.json") == finished.read(f"{FOLDERS['frames']}/index.json")
    assert finished.digest(FOLDERS["frames"]) == frames
    assert (finished.folder / FOLDERS["vqvae"] / "model.safetensors").exists()
    finished.set("dataset", "sim_push")
    assert finished.repro() == []
    assert finished.digest("data/other/frames") == other


@pytest.fixture
def s3_address() -> Iterator[str]:
    """A local S3 server, over real HTTP."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request otherwise
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def test_a_run_pushed_to_s3_is_whole_in_a_new_workspace_without_any_cache(
    finished: Clone, s3_address: str, tmp_path: Path
) -> None:
    """Push; then a new clone, which has neither outputs nor cache; pull; and nothing is left to run."""
    import boto3

    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    nowhere = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    client = boto3.client(
        "s3",
        endpoint_url=s3_address,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="moso-dvc-remote")

    def remote(clone: Clone) -> None:
        clone.run("dvc", "remote", "add", "--local", "--force", "--default", "s3", "s3://moso-dvc-remote/dvc")
        clone.run("dvc", "remote", "modify", "--local", "s3", "endpointurl", s3_address)

    remote(finished)
    finished.run("dvc", "push", "dvc.yaml", **keys, **nowhere)
    (finished.folder / ".dvc" / "config.local").unlink()

    finished.run("git", "clone", "-q", "--no-hardlinks", str(finished.folder), str(tmp_path / "new"))
    new = type(finished)(tmp_path / "new", {**finished.environment, "MOSO_WORK": str(tmp_path / "work")})
    (new.folder / "dvc.lock").write_bytes((finished.folder / "dvc.lock").read_bytes())
    assert not (new.folder / "data" / "sim_push" / "frames").exists()
    assert not (new.folder / ".dvc" / "cache").exists()
    remote(new)
    new.run("dvc", "pull", "dvc.yaml", **keys, **nowhere)
    for folder in FOLDERS.values():
        assert digest_folder(new.folder / folder) == digest_folder(finished.folder / folder), folder
    # From here on without the server: everything needed is there.
    assert new.repro("dvc.yaml") == []
    assert (new.folder / "dvc.lock").read_bytes() == (finished.folder / "dvc.lock").read_bytes()
