"""What cannot be done is one line that says why and what would do, an exit code, and no file."""

import shutil

import numpy as np
import pytest

from moso.adapters import mlflow_registry
from moso.tasks import Model

MODEL = "models/sim_push"


def test_an_unknown_suffix_is_a_usage_error_before_the_model_is_looked_for(moso):
    done = moso("predict", "models/nothing", "nothing.mp4", "--output", "a.webm")
    assert done.code == 2
    assert ".mp4, .gif, .png, .npy" in done.err
    assert "nothing" not in done.err
    assert moso("encode", MODEL, "seed_200001", "--output", "a.npy").code == 2


def test_an_unknown_model_is_answered_with_those_there_are(moso, project):
    line = moso("predict", "models/simpush", "seed_200001", "--output", "a.npy").refusal
    assert "models/simpush" in line
    assert "models/nothing_given, models/sim_push, models/unconditional" in line
    shutil.rmtree(project / "models")
    line = moso("predict", "models/simpush", "seed_200001", "--output", "a.npy").refusal
    assert "there is none" in line


def test_an_unknown_registered_model_is_answered_with_the_registered_ones(moso, monkeypatch):
    # A real registry answers in tests/adapters; making its database takes longer than all of this file.
    monkeypatch.setattr(mlflow_registry, "addresses", lambda: ["models:/moso-sim_push@champion", "models:/moso-old/2"])
    line = moso("predict", "models:/moso-sim_pusk@champion", "seed_200001", "--output", "a.npy").refusal
    assert "models/unconditional, models:/moso-sim_push@champion, models:/moso-old/2" in line


def test_a_registry_that_is_not_there_is_no_traceback(moso, project):
    line = moso("predict", "models:/moso-sim_push@champion", "seed_200001", "--output", "a.npy").refusal
    assert "no registry" in line
    assert not (project / "mlruns").exists()


def test_an_unknown_clip_is_answered_with_near_ones(moso):
    line = moso("predict", MODEL, "seed_20001@00004", "--output", "a.npy").refusal
    assert "seed_20001@00004" in line
    assert "seed_200001" in line
    assert "data/sim_push/frames" in line
    assert "one looks like" in moso("predict", MODEL, "seed_200001@x", "--output", "a.npy").refusal
    assert "0 to 9" in moso("predict", MODEL, "seed_200001@00010", "--output", "a.npy").refusal


def test_an_episode_of_two_data_sets_is_not_guessed(moso, project):
    shutil.copytree(project / "data" / "sim_push", project / "data" / "second")
    line = moso("predict", MODEL, "seed_200001", "--output", "a.npy").refusal
    assert "data/second/frames and data/sim_push/frames" in line
    assert "--cache" in line
    assert moso("predict", MODEL, "seed_200001", "--cache", "data/second/frames", "--output", "a.npy").code == 0


def test_a_clip_without_any_cache_says_how_to_name_one(moso, project):
    shutil.rmtree(project / "data")
    assert "--cache" in moso("predict", MODEL, "seed_200001", "--output", "a.npy").refusal


@pytest.mark.parametrize(
    ("command", "needed"), [("predict", 2), ("interpolate", 4), ("decompose", 4), ("reconstruct", 4), ("encode", 4)]
)
def test_too_few_frames_say_how_many_there_are_and_are_needed(moso, project, command, needed):
    np.save("short.npy", np.zeros((1, 16, 16, 3), dtype=np.uint8))
    output = "a.safetensors" if command == "encode" else "a.npy"
    line = moso(command, MODEL, "short.npy", "--output", output).refusal
    assert f"short.npy: has 1 frame, {needed} are needed" in line
    line = moso(command, MODEL, "seed_200001@00004", "--start", "5", "--output", output).refusal
    assert f"has 1 frame from frame 5 on, {needed} are needed" in line
    assert not (project / output).exists()


def test_a_truncated_a_false_and_a_missing_video_and_an_empty_folder(moso, project):
    data = (project / "push.mp4").read_bytes()
    (project / "cut.mp4").write_bytes(data[: len(data) // 2])
    (project / "false.mp4").write_text("this is text\n")
    (project / "empty").mkdir()
    for name in ("cut.mp4", "false.mp4", "missing.mp4", "empty", "no/such/folder"):
        line = moso("predict", MODEL, name, "--resize", "--output", "a.npy").refusal
        assert name in line
    assert not (project / "a.npy").exists()


def test_a_model_is_not_asked_for_what_it_was_not_trained_for(moso, project):
    line = moso("generate", MODEL, "--output", "new").refusal
    assert "unconditional_share" in line
    assert not (project / "new").exists()
    line = moso("predict", "models/nothing_given", "seed_200001", "--output", "a.npy").refusal
    assert "moso generate" in line


def test_a_device_that_is_not_there_and_frames_out_of_range(moso):
    assert "device" in moso("predict", MODEL, "seed_200001", "--device", "gpu", "--output", "a.npy").refusal
    line = moso("interpolate", MODEL, "seed_200001", "--given", "0,4", "--output", "a.npy").refusal
    assert "0 to 3" in line
    assert moso("interpolate", MODEL, "seed_200001", "--given", "0,x", "--output", "a.npy").code == 2
    line = moso("decode", MODEL, "push.mp4", "--output", "a.npy").refusal
    assert "push.mp4: is no token file" in line


def test_an_interrupted_command_leaves_no_file(moso, project, monkeypatch):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(Model, "predict", interrupted)
    assert moso("predict", MODEL, "seed_200001", "--output", "a.npy").code == 1
    assert not list(project.glob("*a*.npy"))
