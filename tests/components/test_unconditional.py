"""A model of nothing given (K = 0), from raw episodes to generated videos: the steps that a user runs for it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.config import resolve_all
from components.evaluate.step import run as evaluate
from components.extract_tokens.step import run as extract_tokens
from components.ingest.step import run as ingest
from components.preprocess.step import run as preprocess
from components.train_transformer.step import run as train_transformer
from components.train_vqvae.step import run as train_vqvae
from moso.errors import StopRequested
from moso.evaluation import generation
from moso.evaluation.generation import measure_generation
from moso.evaluation.measures import Measures
from moso.frames.cache import FrameCache
from moso.step import Context, StopSignal
from moso.tasks import Model

SPECS = Path(__file__).parents[2] / "data" / "specs"
PARAMS = {
    "dataset": "sim_push",
    "preset": "tiny",
    "seed": 0,
    "ingest": {"episodes": {"train": 3, "validation": 1, "test": 1}},
    "train_vqvae": {"training": {"steps": 4, "validate_every": 0}},
    "extract_tokens": {"given_frames": 0},
    "evaluate": {"protocol": None, "rollout": None},
    "train_transformer": {"training": {"steps": 4, "validate_every": 2}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unconditional")
    names = ("episodes", "frames", "vqvae", "tokens", "transformer", "report")
    paths = {name: folder / name for name in names}
    configs = resolve_all(PARAMS, SPECS)
    for step, run, inputs, output in (
        ("ingest", ingest, (), "episodes"),
        ("preprocess", preprocess, ("episodes",), "frames"),
        ("train_vqvae", train_vqvae, ("frames",), "vqvae"),
        ("extract_tokens", extract_tokens, ("frames", "vqvae"), "tokens"),
        ("train_transformer", train_transformer, ("tokens",), "transformer"),
    ):
        context = Context(work=folder / "work" / step, device="cpu")
        run(configs[step], {name: paths[name] for name in inputs}, {output: paths[output]}, context)
    return paths, configs


def test_a_model_of_nothing_given_is_trained_by_the_steps_and_generates(project):
    paths, _ = project
    model = Model.from_parts(paths["vqvae"], paths["transformer"], "cpu")
    assert model.given_frames == 0
    videos = np.concatenate(list(model.generate(3, seed=1)))
    assert videos.shape == (3, 6, 32, 32, 3)
    assert not np.array_equal(videos[0], videos[1])
    np.testing.assert_array_equal(np.concatenate(list(model.generate(1, first=2, seed=1))), videos[2:])


def test_evaluate_shows_what_it_draws_and_says_that_no_distance_could_be_computed(project, tmp_path):
    paths, configs = project
    inputs = {name: paths[name] for name in ("frames", "vqvae", "tokens", "transformer")}
    report = tmp_path / "report"
    evaluate(configs["evaluate"], inputs, {"report": report}, Context(work=tmp_path / "work", device="cpu"))
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["protocol"]["task"] == "unconditional"
    assert metrics["protocol"]["videos_drawn"] == 2048
    assert [entry["metric"] for entry in metrics["not_computed"]] == ["fvd"]
    assert "generation" not in metrics  # no figure without its network
    assert pd.read_parquet(report / "per_clip.parquet").empty
    assert (report / "index.html").read_text().count('class="film"') == configs["evaluate"].shown_clips


class MeanColour:
    """Stand-in of a network, that is no metric: the mean colour of a video."""

    name, sha256, dimension, minimum_frames, by_frame = "colour", "0" * 64, 3, 1, False

    def __call__(self, videos):
        return videos.float().mean(dim=(1, 2, 3))


def test_a_drawing_that_was_stopped_goes_on_and_ends_in_the_same_distance(project, tmp_path, monkeypatch):
    paths, configs = project
    model = Model.from_parts(paths["vqvae"], paths["transformer"], "cpu")
    model.batch = 2
    cache = FrameCache.open(paths["frames"])
    sizes = {"clip_frames": model.clip_frames, "height": model.height, "width": model.width}
    asked = dataclasses.replace(configs["evaluate"].asked(given_frames=0, **sizes), videos=7)
    monkeypatch.setattr(generation, "measures_of", lambda *_: Measures({}, {"fvd": MeanColour()}, ()))
    stop, drawn = StopSignal(), []
    blocks = type(model).generate

    def counted(self, count, **how):
        drawn.append(count)
        if len(drawn) == 3:
            stop.set()
        return blocks(self, count, **how)

    monkeypatch.setattr(type(model), "generate", counted)
    with pytest.raises(StopRequested, match="4 of 7 videos are kept"):
        measure_generation(model, cache, asked, work=tmp_path / "broken", shown=1, stop=stop)
    assert drawn == [1, 2, 2]  # the one that is shown, two blocks
    resumed = measure_generation(model, cache, asked, work=tmp_path / "broken", shown=1)
    assert drawn[3:] == [1, 2, 1]
    whole = measure_generation(model, cache, asked, work=tmp_path / "whole", shown=1)
    assert resumed.frechet["fvd"].value == whole.frechet["fvd"].value > 0
    assert (whole.frechet["fvd"].drawn, whole.protocol.videos_drawn) == (7, 7)
