"""From a run in a real sqlite database back to the episodes, and from checkpoints; `--deep` on real recordings."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from components.ingest import step as ingest
from components.preprocess import step as preprocess
from components.train_vqvae import step as train_vqvae
from moso.adapters.mlflow_tracking import MlflowTracker
from moso.cli.lineage import command
from moso.config import build
from moso.datasets.spec import DatasetSpec, SourceSpec, SplitSpec
from moso.errors import MosoError, StopRequested
from moso.provenance import digest_json, write_provenance
from moso.step import Context

SIZE, LENGTH = 16, 4
EPISODES = {"train": (0, 2), "validation": (100, 101), "test": (200, 201)}


def recordings(root: Path) -> None:
    (root / "episodes").mkdir(parents=True)
    for first, end in EPISODES.values():
        for seed in range(first, end):
            rng = np.random.default_rng(seed)
            np.savez_compressed(
                root / "episodes" / f"seed_{seed:06d}.npz",
                frames=rng.integers(0, 256, (2 * LENGTH, SIZE, SIZE, 3), dtype=np.uint8),
                actions=rng.normal(size=(2 * LENGTH, 2)).astype(np.float32),
                states=rng.normal(size=(2 * LENGTH, 2)).astype(np.float32),
            )


def vqvae_config(steps: int = 2) -> train_vqvae.Config:
    model = {
        "frames": LENGTH, "height": SIZE, "width": SIZE, "scene_factor": 2, "object_factor": 4, "motion_factor": 8,
        "pools": 2, "channels": 16, "code_dimension": 8, "codebook_size": 32, "residual_channels": 8,
        "encoder_blocks": 0, "decoder_blocks": 0, "attention_heads": 2, "norm_group": 8, "stem_channels": (8,),
    }  # fmt: skip
    training = {"steps": steps, "batch": 2, "optimizer": {"name": "adam", "learning_rate": 0.001}}
    training |= {"log_every": 1, "validate_every": 0, "checkpoint_every": 1}
    return build(train_vqvae.Config, {"model": model, "training": training, "objective": {}}, "train_vqvae")


class Project:
    """A project whose ingest, preprocess and train_vqvae have run, recorded in its own database."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = f"sqlite:///{root / 'mlruns' / 'mlflow.db'}"
        self.client = MlflowClient(self.uri)
        raw = root / "data/tiny/raw"
        recordings(raw)
        splits = SplitSpec("id_ranges", **EPISODES)
        spec = DatasetSpec("tiny", "sim_push", SourceSpec("folder", path=str(raw)), 10.0, splits)
        self.episodes, self.frames = root / "data/tiny/episodes", root / "data/tiny/frames"
        context = Context(root / ".work" / "ingest", device="cpu")
        ingest.run(ingest.Config(spec), {}, {"episodes": self.episodes}, context)
        preprocess.run(preprocess.Config(), {"episodes": self.episodes}, {"frames": self.frames}, context)

    def train(self, config: train_vqvae.Config, output: Path, on_checkpoint=None) -> str:
        """Train, or begin to; the run's id."""
        tracker = MlflowTracker(self.uri)
        context = Context(self.root / ".work" / "train_vqvae", tracker, device="cpu", on_checkpoint=on_checkpoint)
        before = set(self.runs())
        with contextlib.suppress(StopRequested):
            train_vqvae.run(config, {"frames": self.frames}, {"vqvae": output}, context)
        (run,) = set(self.runs()) - before
        return run

    def runs(self) -> list[str]:
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        return [run.info.run_id for run in self.client.search_runs(experiments)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    project.run_id = project.train(vqvae_config(), project.root / "models/tiny/vqvae")
    return project


@pytest.fixture
def project(trained, tmp_path, monkeypatch) -> Path:
    """A copy whose folders a test may spoil; the database is the first one's."""
    for name in ("data", "models"):
        shutil.copytree(trained.root / name, tmp_path / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trained.uri)
    return tmp_path


def lineage(project: Path, reference: str, *options: str) -> tuple[int, dict[str, dict]]:
    """Exit status, and kind -> link."""
    done = CliRunner().invoke(command, [reference, "--project", str(project), "--json", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, {link["what"]: link for link in json.loads(done.stdout)}


@pytest.mark.parametrize("form", ["runs:/{}", "{}"])
def test_the_run_of_a_training_leads_to_its_output_and_back_to_the_episodes(project, trained, form):
    status, links = lineage(project, form.format(trained.run_id))
    assert list(links) == ["run", "vqvae's run", "vqvae", "frames", "episodes", "manifest"]
    assert {link["state"] for link in links.values()} == {"verified"}
    assert status == 0
    assert "records no digest" in links["vqvae's run"]["note"]
    assert "no checkpoint of its training is kept" in links["vqvae"]["note"]


def test_the_output_of_other_settings_is_not_taken_for_the_runs(project, trained):
    folder = project / "models/tiny/vqvae"
    record = json.loads((folder / "provenance.json").read_text())
    record["config"]["training"]["batch"] = 3
    (folder / "provenance.json").write_text(json.dumps(record))
    status, links = lineage(project, trained.run_id)
    assert (status, links["vqvae"]["state"]) == (1, "missing")
    assert "settings (training.batch)" in links["vqvae"]["note"]
    assert links["frames"]["state"] == "verified"


def test_weights_that_were_changed_since_are_damaged(project, trained):
    (project / "models/tiny/vqvae/model.safetensors").write_bytes(b"other")
    status, links = lineage(project, trained.run_id)
    assert (status, links["vqvae"]["state"]) == (1, "damaged")


def test_a_training_whose_last_figures_are_not_the_runs_is_another(project, trained):
    folder = project / "models/tiny/vqvae"
    record = json.loads((folder / "provenance.json").read_text())
    path = folder / "history.csv"
    head, *rows = path.read_text().splitlines()
    cells = rows[-1].split(",")
    cells[head.split(",").index("loss")] = "123.0"
    path.write_text("\n".join([head, *rows[:-1], ",".join(cells)]) + "\n")
    _, before = lineage(project, trained.run_id)
    assert before["vqvae"]["state"] == "damaged"
    names = {name: record[name] for name in ("format", "step", "config", "inputs")}
    write_provenance(folder, version=record["format_version"], **names)  # as if another training had written it
    status, links = lineage(project, trained.run_id)
    assert (status, links["vqvae"]["state"], links["vqvae's run"]["state"]) == (1, "verified", "differs")
    assert "loss ends at 123" in links["vqvae's run"]["note"]


def test_a_run_that_records_too_little_says_what_is_missing(project, trained):
    tracker = MlflowTracker(trained.uri)
    run_id = tracker.start("by hand", params={}, tags={"step": "evaluate"})
    tracker.finish()
    status, links = lineage(project, run_id)
    assert (status, list(links), links["report"]["state"]) == (1, ["run", "report"], "missing")
    for tag in ("inputs.<name>", "code"):
        assert tag in links["report"]["note"]
    assert "no tag step" not in links["report"]["note"]


@pytest.fixture
def evaluated(project, trained):
    """The run of an evaluation as components/evaluate records it, and its report."""
    inputs = {name: digit * 64 for name, digit in (("vqvae", "1"), ("transformer", "2"))}
    report = project / "reports"
    report.mkdir()
    (report / "metrics.json").write_text('{"psnr": 20}')
    record = write_provenance(
        report, format="moso.report", version=1, step="evaluate", config={"seed": 0, "x": {"y": None}}, inputs=inputs
    )
    tags = {"step": "evaluate", "code": record["code_digest"], "model": digest_json(inputs)}
    tags |= {f"input.{name}": digest for name, digest in inputs.items()}
    tracker = MlflowTracker(trained.uri)
    run_id = tracker.start("evaluate", params={"seed": 0, "x": {"y": None}}, tags=tags)
    tracker.artifact(report / "metrics.json")
    tracker.finish()
    return run_id


def test_the_report_of_an_evaluation_is_the_one_whose_figures_the_run_keeps(project, evaluated):
    _, links = lineage(project, evaluated)
    assert (links["report"]["state"], links["model"]["state"]) == ("verified", "verified")
    assert "metrics.json is the run's" in links["report's run"]["note"]
    assert links["transformer"]["state"] == "missing"
    # Another report in its place, whole in itself.
    record = json.loads((project / "reports/provenance.json").read_text())
    (project / "reports/metrics.json").write_text('{"psnr": 99}')
    write_provenance(
        project / "reports", format="moso.report", version=1, step="evaluate", config=record["config"],
        inputs=record["inputs"],
    )  # fmt: skip
    status, links = lineage(project, evaluated)
    assert (status, links["report"]["state"], links["report's run"]["state"]) == (1, "verified", "differs")


def test_a_model_that_is_not_its_parts_differs(project, trained, evaluated):
    trained.client.set_tag(evaluated, "model", "f" * 64)
    assert lineage(project, evaluated)[1]["model"]["state"] == "differs"


def test_a_stopped_training_leads_through_its_checkpoint_to_the_episodes(tmp_path, monkeypatch):
    project = Project(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", project.uri)
    output = tmp_path / "models/tiny/vqvae"

    def stop(folder: Path | None, step: int, figures: Mapping[str, float]) -> None:
        raise StopRequested("enough")

    run_id = project.train(vqvae_config(steps=5), output, on_checkpoint=stop)
    kinds = ["checkpoint", "frames", "episodes", "manifest"]
    status, links = lineage(tmp_path, run_id)
    assert (status, list(links)) == (0, ["run", *kinds])
    assert "KILLED" in links["run"]["note"]
    checkpoint = Path(links["checkpoint"]["folder"])
    assert "step 1 of train_vqvae" in links["checkpoint"]["note"]
    for place in (checkpoint, tmp_path / ".work/train_vqvae"):
        status, links = lineage(tmp_path, str(place))
        assert (status, list(links)) == (0, kinds)
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / ".work/train_vqvae", kept)

    # Finished, with the checkpoints put back: they belong to the output by settings, inputs and code.
    tracker = MlflowTracker(project.uri)
    context = Context(tmp_path / ".work/train_vqvae", tracker, device="cpu")
    train_vqvae.run(vqvae_config(steps=5), {"frames": project.frames}, {"vqvae": output}, context)
    status, links = lineage(tmp_path, run_id)
    assert (status, "checkpoint" in links) == (0, False)
    shutil.copytree(kept, tmp_path / ".work/train_vqvae", dirs_exist_ok=True)
    status, links = lineage(tmp_path, str(output))
    assert (status, list(links)) == (0, ["vqvae", *kinds])
    assert links["checkpoint"]["needed_by"] == "vqvae"
    (checkpoint / "weights.safetensors").write_bytes(b"other")
    status, links = lineage(tmp_path, str(output))
    assert (status, links["checkpoint"]["state"]) == (1, "damaged")
    assert "weights.safetensors" in links["checkpoint"]["note"]
    (tmp_path / "models/tiny/vqvae/provenance.json").write_text(
        (tmp_path / "models/tiny/vqvae/provenance.json").read_text().replace('"batch": 2', '"batch": 3')
    )
    assert "checkpoint" not in lineage(tmp_path, str(output))[1]


def test_deep_holds_every_row_against_its_episode(project):
    frames, raw = str(project / "data/tiny/frames"), project / "data/tiny/raw"
    status, links = lineage(project, frames, "--deep", "--raw", str(raw))
    assert (status, links["recordings"]["state"]) == (0, "verified")
    assert "4 episodes" in links["recordings"]["note"]
    path = raw / "episodes/seed_000001.npz"
    with np.load(path) as file:
        arrays = {name: file[name].copy() for name in file.files}
    arrays["frames"][0, 0, 0, 0] ^= 1
    np.savez_compressed(path, **arrays)
    assert lineage(project, frames)[0] == 0  # manifest against manifest sees nothing
    status, links = lineage(project, frames, "--deep", "--raw", str(raw))
    assert (status, links["recordings"]["state"]) == (1, "damaged")
    assert links["recordings"]["note"].startswith("1 of 4 episodes are not their rows': seed_000001: ")
    shutil.rmtree(project / "data/tiny/episodes")
    assert lineage(project, frames, "--deep")[1]["recordings"]["state"] == "missing"


def test_a_run_that_is_not_there_is_one_line(project, tmp_path, monkeypatch):
    for reference, words in (("runs:/" + "0" * 32, "no such run"), ("runs:/abc", "32 hexadecimal digits")):
        done = CliRunner().invoke(command, [reference, "--project", str(project)])
        assert isinstance(done.exception, MosoError)
        assert words in str(done.exception)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}")
    done = CliRunner().invoke(command, ["0" * 32])
    assert "no database" in str(done.exception)
    assert not (tmp_path / "none").exists()
