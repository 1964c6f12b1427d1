"""From a registered version back to the episodes: real steps, a real sqlite registry, `moso lineage` on all of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from components.evaluate import step as evaluate
from components.promote import step as promote
from moso.adapters.mlflow_tracking import MlflowTracker
from moso.cli.lineage import command
from moso.frames.cache import FrameCache, FrameCacheWriter
from moso.frames.clips import Clips, to_float, windows
from moso.provenance import write_provenance
from moso.step import Context
from moso.tasks.model import Model
from moso.tokens.writer import TokenStoreWriter
from moso.vqvae.config import given_motion_frames
from moso.vqvae.decompose import pseudo_clip
from tests.small_model import SIZE, K, T, smooth_clips, write_model

EPISODES = {"train": 2, "test": 3}
CHAIN = ["report", "transformer", "tokens", "vqvae", "frames", "episodes", "manifest"]


def made(folder: Path, step: str, **inputs: str) -> str:
    """Write the folder's provenance; its digest."""
    record = write_provenance(folder, format=f"moso.{folder.name}", version=1, step=step, config={}, inputs=inputs)
    return record["digest"]


def build(root: Path, seed: int = 1) -> None:
    """A project up to train_transformer, each folder naming its inputs."""
    data, models = root / "data" / "toy", root / "models" / "toy"
    names = [f"seed_{i:06d}" for i in range(sum(EPISODES.values()))]
    splits = [split for split, count in EPISODES.items() for _ in range(count)]
    videos = dict(zip(names, smooth_clips(len(names), 2 * T), strict=True))
    manifest = pd.DataFrame({"episode_id": names, "sha256": [f"{i:064d}" for i in range(len(names))]})
    manifest["signals_sha256"] = ""
    (data / "episodes").mkdir(parents=True)
    with FrameCacheWriter(data / "frames", height=SIZE, width=SIZE, fps=10.0) as writer:
        for name, split in zip(names, splits, strict=True):
            writer.add(name, split, videos[name])
    for folder in ("episodes", "frames"):
        manifest.to_parquet(data / folder / "manifest.parquet", index=False)
    frames = made(data / "frames", "preprocess", episodes=made(data / "episodes", "ingest"))

    write_model(models, seed)
    for name in ("vqvae", "transformer"):
        (models / name / "history.csv").write_text("step,loss\n1,0.5\n2,0.4\n")
    vqvae = made(models / "vqvae", "train_vqvae", frames=frames)
    model = Model.from_parts(models / "vqvae", models / "transformer", "cpu")
    write_tokens(data / "tokens", FrameCache.open(data / "frames"), model)
    made(
        models / "transformer", "train_transformer", tokens=made(data / "tokens", "extract", frames=frames, vqvae=vqvae)
    )


def write_tokens(folder: Path, cache: FrameCache, model: Model) -> None:
    """The token store of the cache's training clips, but for its provenance."""
    clips = Clips(cache, windows(cache, "train", T, T), T)
    pixels = to_float(clips.batch(range(len(clips))))
    given = given_motion_frames(model.vqvae.config, K)
    with TokenStoreWriter(folder, model.vqvae.grids, model.vqvae.codebook, K, given) as store:
        store.add(clips.clips, "train", model.vqvae.encode(pixels), model.vqvae.encode(pseudo_clip(pixels, K)))


def evaluation(**protocol: object) -> evaluate.Config:
    """evaluate's config: every test episode of the toy data set."""
    return evaluate.Config(
        data_set="toy",
        protocol={"metrics": ["psnr", "ssim"], **protocol},
        min_clips=1,
        min_episodes=1,
        resamples=100,
        shown_clips=1,
    )


def file_version(root: Path, uri: str, **protocol: object) -> None:
    """Evaluate and promote, as `dvc repro` does."""
    parts = {
        "frames": root / "data/toy/frames",
        "tokens": root / "data/toy/tokens",
        "vqvae": root / "models/toy/vqvae",
        "transformer": root / "models/toy/transformer",
    }
    context = Context(root / "work", MlflowTracker(uri), device="cpu", options={"tracking_uri": uri})
    evaluate.run(evaluation(**protocol), parts, {"report": root / "reports"}, context)
    inputs = {"vqvae": parts["vqvae"], "transformer": parts["transformer"], "report": root / "reports"}
    promote.run(promote.Config(), inputs, {"promotion": root / "reports" / "promotion.json"}, context)


@pytest.fixture(scope="module")
def filed(tmp_path_factory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("project")
    uri = f"sqlite:///{root / 'mlruns' / 'mlflow.db'}"
    build(root)
    file_version(root, uri)
    return root, uri


@pytest.fixture
def project(filed, tmp_path, monkeypatch) -> Path:
    """A copy of the project whose folders a test may spoil; the registry is the first one's."""
    root, uri = filed
    for name in ("data", "models", "reports"):
        shutil.copytree(root / name, tmp_path / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MOSO_CACHE", str(tmp_path / "cache"))
    return tmp_path


def lineage(project: Path, reference: str) -> tuple[int, dict[str, str]]:
    """Exit status, and kind -> state."""
    found = CliRunner().invoke(command, [reference, "--project", str(project), "--json"])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.output
    return found.exit_code, {link["what"]: link["state"] for link in json.loads(found.output)}


@pytest.mark.parametrize("reference", ["models:/moso-toy@champion", "models:/moso-toy/1"])
def test_a_registered_version_leads_back_to_the_episodes_and_every_digest_is_verified(project, reference):
    status, states = lineage(project, reference)
    assert (status, list(states)) == (0, ["version", "run", *CHAIN])
    assert set(states.values()) == {"verified"}


@pytest.mark.parametrize(
    ("name", "own"), [("promote moso-toy", ["run", "model"]), ("evaluate", ["run", "model", "report's run"])]
)
def test_the_runs_of_promote_and_evaluate_lead_back_as_the_version_does(filed, project, name, own):
    client = MlflowClient(filed[1])
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (run,) = [run for run in runs if run.info.run_name == name]
    status, states = lineage(project, f"runs:/{run.info.run_id}")
    assert (status, list(states)) == (0, [*own, *CHAIN])
    assert set(states.values()) == {"verified"}
    (project / "reports/per_clip.parquet").write_bytes(b"other")
    assert lineage(project, run.info.run_id)[1]["report"] == "damaged"


def test_the_report_that_evaluate_writes_has_the_digest_that_lineage_takes_of_it(project):
    # The page, the promotion and whatever promote adds beside the figures change nothing.
    (project / "reports" / "index.html").write_text("another page")
    status, states = lineage(project, str(project / "reports"))
    assert (status, states) == (0, dict.fromkeys(CHAIN, "verified"))


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("reports/metrics.json", "report"),
        ("reports/per_clip.parquet", "report"),
        ("reports/table.csv", "report"),
        ("data/toy/tokens/codebook.npy", "tokens"),
        ("data/toy/frames/statistics.json", "frames"),
    ],
)
def test_a_file_that_is_not_the_one_the_version_was_made_of_is_named(project, file, what):
    (project / file).write_bytes(b"other")
    status, states = lineage(project, "models:/moso-toy@champion")
    assert (status, states[what]) == (1, "damaged")
    assert states["version"] == states["run"] == "verified"


def test_the_registered_copy_serves_where_the_projects_own_was_spoiled_and_that_is_said(project):
    (project / "models/toy/transformer/config.json").write_text("{}")
    found = CliRunner().invoke(command, ["models:/moso-toy@champion", "--project", str(project), "--json"])
    link = next(link for link in json.loads(found.output) if link["what"] == "transformer")
    assert (found.exit_code, link["state"]) == (0, "verified")
    assert Path(link["folder"]).is_relative_to(project / "cache")
    assert f"a damaged copy lies in {project / 'models/toy/transformer'}" in link["note"]
    assert lineage(project, str(project / "models/toy"))[1]["transformer"] == "damaged"


def test_what_is_gone_is_named_although_the_registry_has_the_model(project):
    shutil.rmtree(project / "data/toy/tokens")
    shutil.rmtree(project / "models/toy/vqvae")
    status, states = lineage(project, "models:/moso-toy@champion")
    assert (status, states["tokens"]) == (1, "missing")
    assert states["vqvae"] == "verified"  # the registered copy


def test_an_evaluation_under_another_protocol_is_the_one_that_its_version_leads_back_to(tmp_path, monkeypatch):
    root, uri = tmp_path, f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MOSO_CACHE", str(tmp_path / "cache"))
    build(root)
    file_version(root, uri)
    file_version(root, uri, seed=5)
    status, states = lineage(root, "models:/moso-toy/1")
    assert (status, states["report"]) == (0, "verified")


def test_two_models_measured_by_best_of_several_samples_are_compared_over_the_same_clips(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    figures = []
    for seed in (1, 2):
        root = tmp_path / str(seed)
        build(root, seed)
        file_version(root, uri, samples_per_video=2, best_of="each_metric_over_video_mean")
        figures.append(json.loads((root / "reports" / "metrics.json").read_text()))
    record = json.loads((root / "reports" / "promotion.json").read_text())
    assert record["decision"]["outcome"] in ("promoted", "kept"), record["decision"]["reasons"]
    assert set(record["comparison"]) == {"prediction.psnr", "prediction.ssim"}
    for name, interval in record["comparison"].items():
        metric = name.rpartition(".")[2]
        first, second = (content["prediction"][metric] for content in figures)
        assert interval["mean"] == pytest.approx(second - first)
        assert (interval["clips"], interval["episodes"]) == (6, 3)
        assert interval["low"] <= interval["mean"] <= interval["high"]
    samples = pd.read_parquet(root / "reports" / "per_clip.parquet").query("method == 'prediction'")["sample"]
    assert set(samples) == {0, 1}


def test_a_version_that_is_not_there_is_one_line(project):
    found = CliRunner().invoke(command, ["models:/moso-toy/9", "--project", str(project)])
    assert "models:/moso-toy/9" in str(found.exception)
    assert "\n" not in str(found.exception)
    assert np.isin(found.exit_code, [1, 2])
