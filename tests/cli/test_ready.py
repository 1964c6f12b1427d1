"""An output is checked before any work is done for it: no source is replaced, and the file can be written."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from moso.cli import models
from moso.frames.cache import FrameCacheWriter

MODEL = "models/sim_push"
TAKING_SOURCES = [
    ("predict",),
    ("rollout", "--length", "3"),
    ("interpolate",),
    ("decompose",),
    ("reconstruct",),
]


@pytest.fixture
def no_model(monkeypatch):
    """Loading a model is an error: what a test asks for is refused before."""

    def load(*arguments):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(models, "load", load)


@pytest.mark.parametrize("words", TAKING_SOURCES)
@pytest.mark.parametrize("output", ["push.mp4", "./push.mp4", "images/../push.mp4"])
def test_no_command_replaces_its_source(moso, project, no_model, words, output):
    before = (project / "push.mp4").read_bytes()
    command, *options = words
    line = moso(command, MODEL, "seed_200001", "push.mp4", *options, "--resize", "--output", output).refusal
    assert "would replace" in line
    assert (project / "push.mp4").read_bytes() == before


def test_neither_recombine_nor_a_name_by_number_nor_a_picture_of_a_folder_nor_a_link_does(moso, project, no_model):
    sources = ("--scene", "seed_200001", "--object", "push.mp4", "--motion", "images")
    assert "would replace" in moso("recombine", MODEL, *sources, "--resize", "--output", "push.mp4").refusal
    assert "would replace images/3.png" in moso("recombine", MODEL, *sources, "--output", "images/3.png").refusal
    shutil.copy("push.mp4", "p_0001.mp4")
    assert "would replace p_0001.mp4" in moso("predict", MODEL, "p_0001.mp4", "--output", "p_{}.mp4").refusal
    (project / "link.mp4").symlink_to("push.mp4")
    assert "would replace" in moso("predict", MODEL, "push.mp4", "--output", "link.mp4").refusal


def test_another_file_is_replaced_as_ever(moso, project):
    np.save("old.npy", np.zeros(3))
    assert moso("predict", MODEL, "seed_200001", "--output", "old.npy").code == 0
    assert np.load("old.npy").ndim == 5


@pytest.mark.parametrize("output", ["/proc/foo/o.png", "push.mp4/o.png", "x" * 300 + ".png"])
def test_a_file_that_cannot_be_written_is_refused_before_the_model_is_loaded(moso, project, no_model, output):
    line = moso("predict", MODEL, "seed_200001", "--output", output).refusal
    assert f"--output {output}: cannot be written" in line


def test_tokens_and_folders_that_cannot_be_written_are_refused_alike(moso, project, no_model):
    done = moso("encode", MODEL, "seed_200001", "--output", "/proc/foo/a.safetensors")
    assert "cannot be written" in done.refusal
    assert "cannot be written" in moso("generate", MODEL, "--output", "/proc/foo/videos").refusal
    assert "cannot be written" in moso("generate", MODEL, "--output", "reports/example.npy/videos").refusal


def test_a_refused_command_leaves_no_folder(moso, project):
    moso("predict", "models/nothing", "seed_200001", "--output", "new/deep/a.png")
    assert not (project / "new").exists()


def test_a_failure_while_writing_is_one_line(moso, project):
    (project / "p_0001.npy").mkdir()
    line = moso("predict", MODEL, "seed_200001", "seed_200002", "--output", "p_{}.npy").refusal
    assert "p_0001.npy: cannot be written (Is a directory)" in line
    assert not list(Path().glob(".*partial*"))


@pytest.mark.parametrize(
    ("fps", "output", "told"),
    [
        ("inf", "a.mp4", "finite"),
        ("nan", "a.gif", "finite"),
        ("nan", "a.png", "finite"),
        ("1e9", "a.mp4", "from 0.001 to 1000"),
        ("0.0001", "a.mp4", "from 0.001 to 1000"),
        ("0.001", "a.gif", "from 0.0016 on"),
    ],
)
def test_frames_per_second_that_a_format_cannot_have_are_refused(moso, project, no_model, fps, output, told):
    assert told in moso("predict", MODEL, "seed_200001", "--fps", fps, "--output", output).refusal


@pytest.mark.parametrize(
    ("fps", "output"), [("0.001", "a.mp4"), ("1000", "a.mp4"), ("0.0016", "a.gif"), ("1e9", "a.gif")]
)
def test_frames_per_second_at_the_ends_of_the_range_are_written(moso, project, fps, output):
    assert moso("predict", MODEL, "seed_200001", "--fps", fps, "--output", output).code == 0
    assert (project / output).exists()


@pytest.mark.parametrize(
    "words",
    [
        ("generate", MODEL, "--output", "g.gif"),
        ("decode", MODEL, "a.safetensors", "--frames", "40", "--output", "a.npy"),
        ("decode", "models/unconditional", "a.safetensors", "--output", "a.npy"),
        ("decompose", MODEL, "seed_200001", "--thresholds", "0.9", "0.1", "--output", "a.npy"),
        ("predict", MODEL, "seed_200001", "--temperature", "nan", "--output", "a.npy"),
    ],
)
def test_what_is_refused_shows_no_bar(moso, project, words):
    if words[0] == "decode":
        assert moso("encode", MODEL, "seed_200001", "--output", "a.safetensors").code == 0
    done = moso(*words)
    assert done.refusal
    assert "interrupted" not in done.err
    assert f"{words[0]}: 1" not in done.err


@pytest.mark.parametrize("words", TAKING_SOURCES)
def test_a_source_too_fast_for_the_format_is_refused_before_the_bar(moso, project, words):
    with FrameCacheWriter(project / "data" / "fast" / "frames", height=16, width=16, fps=2000.0) as cache:
        cache.add("seed_9", "test", np.zeros((10, 16, 16, 3), dtype=np.uint8))
    command, *options = words
    done = moso(command, MODEL, "seed_9", *options, "--output", "a.mp4")
    assert "fps = 2000.0" in done.refusal
    assert "interrupted" not in done.err
    assert f"{command}: 1 clip" not in done.err
    assert moso(command, MODEL, "seed_9", *options, "--fps", "20", "--output", "a.mp4").code == 0


def test_one_is_no_plural(moso, project):
    assert "predict: 1 clip\n" in moso("predict", MODEL, "seed_200001", "--output", "a.gif").err
    done = moso("generate", "models/unconditional", "--output", "one")
    assert "generate: 1 video\n" in done.err
    assert "one: 1 video written" in done.out
