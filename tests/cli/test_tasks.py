"""What the commands of a model write is what the facade gives."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from moso.tasks import Model
from moso.tasks.request import answer
from moso.transformer.config import SamplingConfig
from moso.video import Recording, read
from moso.video.layout import GIVEN, MARGIN

MODEL = "models/sim_push"
K, T, SIZE = 2, 4, 16  # conftest's model


@pytest.fixture
def model(project) -> Model:
    return Model.load(MODEL, "cpu")


@pytest.fixture
def given(episodes) -> np.ndarray:
    return np.stack([episodes[1][4 : 4 + K], episodes[2][:K]])


def ok(done):
    assert done.code == 0, done
    return done


def test_predict_writes_what_the_facade_gives(moso, model, given):
    sources = ("seed_200001@00004", "seed_200002")
    ok(moso("predict", MODEL, *sources, "--seed", "3", "--output", "a.npy"))
    np.testing.assert_array_equal(np.load("a.npy"), model.predict(given, seed=3))
    ok(moso("predict", MODEL, *sources, "--seed", "3", "--samples", "2", "--batch", "1", "--output", "b.npy"))
    np.testing.assert_array_equal(np.load("b.npy"), model.predict(given, seed=3, samples=2))


def test_sampling_options_reach_the_model(moso, model, given):
    settings = SamplingConfig(
        steps=2, confidence_noise=1.0, motion_temperature=0.5, scene_object_temperature=0.5, top_k=3, schedule="linear"
    )
    options = ["--steps", "2", "--temperature", "0.5", "--top-k", "3", "--schedule", "linear"]
    ok(moso("predict", MODEL, "seed_200001@00004", "seed_200002", *options, "--output", "a.npy"))
    asked = np.load("a.npy")
    np.testing.assert_array_equal(asked, model.predict(given, sampling=settings))
    assert not np.array_equal(asked, model.predict(given))


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 0.5},
        {"temperature": 0.0, "steps": 2},
        {"temperature": 2.0, "scene_object": "argmax", "top_k": 5, "schedule": "square", "seed": 3},
        {"task": "rollout", "length": 5, "temperature": 0.5, "fade": False},
        {"task": "interpolate", "temperature": 0.5},
        {"task": "interpolate", "confidence_noise": 0.5},
        {"temperature": 0.0, "scene_object": "argmax", "confidence_noise": 0.0, "seed": 3},
    ],
)
def test_the_registered_model_gives_the_same_for_the_same_settings(moso, model, episodes, asked):
    options = {name: value for name, value in asked.items() if name not in ("task", "fade")}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words += ["--no-fade"] if "fade" in asked else []
    task = asked.get("task", "predict")
    ok(moso(task, MODEL, "seed_200002", *words, "--output", "a.npy"))
    frames = episodes[2][None, : T if task == "interpolate" else K]
    np.testing.assert_array_equal(np.load("a.npy"), answer(model, frames, asked))


def test_pictures_show_given_frames_marked_and_predicted_ones(moso, model, given):
    done = ok(moso("predict", MODEL, "seed_200001@00004", "--output", "a.mp4"))
    frames, fps = read_file("a.mp4")
    assert fps == 8  # the data set's
    assert frames.shape == (1, T, SIZE + 2 * MARGIN, SIZE + 2 * MARGIN, 3)
    inside = frames[0, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
    expected = np.concatenate([given[:1], model.predict(given[:1])], axis=1)[0]
    assert np.abs(luma(inside) - luma(expected)).mean() < 6
    assert np.abs(luma(inside[:K]) - luma(expected[K:])).mean() > 20
    margins = frames[0, :, 0, 0].astype(int)
    assert np.abs(margins[:K] - GIVEN).max() < 40
    assert (margins[K:] > 215).all()
    assert done.out == "a.mp4: 4 frames of 1 clip\n"


def test_bare_pictures_hold_the_predicted_frames_alone(moso, model, given):
    ok(moso("predict", MODEL, "seed_200001@00004", "seed_200002", "--bare", "--fps", "12", "--output", "p_{}.mp4"))
    predicted = model.predict(given)
    for number in range(2):
        frames, fps = read_file(f"p_{number:04d}.mp4")
        assert fps == 12
        assert frames.shape == (1, T - K, SIZE, SIZE, 3)
        assert np.abs(luma(frames[0]) - luma(predicted[number])).mean() < 6


def test_a_file_a_clip_of_arrays_holds_one_clip_each(moso, model, given):
    ok(moso("predict", MODEL, "seed_200001@00004", "seed_200002", "--output", "p_{}.npy"))
    predicted = model.predict(given)
    for number in range(2):
        np.testing.assert_array_equal(np.load(f"p_{number:04d}.npy"), predicted[number])


def test_a_longer_video_gives_its_first_frames_from_start_and_says_so(moso, model, episodes):
    done = ok(moso("predict", MODEL, "seed_200003", "--start", "5", "--output", "a.npy"))
    np.testing.assert_array_equal(np.load("a.npy"), model.predict(episodes[3][None, 5 : 5 + K]))
    assert "seed_200003: taking frames 5 to 6" in done.err
    exact = ok(moso("predict", MODEL, "reports/example.npy", "--output", "b.npy"))
    assert "taking" not in exact.err


def test_rollout_goes_on_for_any_length(moso, model, given):
    ok(moso("rollout", MODEL, "seed_200002", "--length", "5", "--carry", "frames", "--seed", "2", "--output", "a.npy"))
    expected = model.rollout(given[1:], 5, carry="frames", seed=2)
    np.testing.assert_array_equal(np.load("a.npy"), expected)
    ok(moso("rollout", MODEL, "seed_200002", "--length", "5", "--no-fade", "--output", "b.npy"))
    np.testing.assert_array_equal(np.load("b.npy"), model.rollout(given[1:], 5, fade=False))
    assert not np.array_equal(np.load("b.npy"), model.rollout(given[1:], 5))
    ok(moso("rollout", MODEL, "seed_200002", "--length", "5", "--output", "a.png"))


def test_generate_numbers_its_videos(moso, project):
    model = Model.load("models/unconditional", "cpu")
    ok(moso("generate", "models/unconditional", "--count", "2", "--first", "3", "--seed", "7", "--output", "a.npy"))
    np.testing.assert_array_equal(np.load("a.npy"), np.concatenate(list(model.generate(2, first=3, seed=7))))


def test_a_folder_of_generated_videos_goes_on_where_it_was(moso, project):
    command = ("generate", "models/unconditional", "--count", "40", "--format", "npy", "--steps", "1")
    ok(moso(*command, "--output", "whole"))
    whole = {path.name: path.read_bytes() for path in (project / "whole").iterdir()}
    assert sorted(whole) == ["000000.npy", "000032.npy", "videos.json"]
    (project / "whole" / "000000.npy").unlink()
    done = ok(moso(*command, "--output", "whole"))
    assert done.out == "whole: 32 videos written, 8 were there\n"
    assert {path.name: path.read_bytes() for path in (project / "whole").iterdir()} == whole
    assert json.loads(whole["videos.json"])["sampling"]["steps"] == 1
    ok(moso(*command[:2], "--count", "3", "--steps", "1", "--output", "videos"))
    (project / "videos" / "000001.mp4").unlink()
    done = ok(moso(*command[:2], "--count", "4", "--steps", "1", "--output", "videos"))
    assert done.out == "videos: 2 videos written, 2 were there\n"
    other = moso(*command, "--seed", "1", "--output", "whole")
    assert "seed = 0, now it is 1" in other.refusal


def test_interpolate_marks_nothing_in_an_array_and_takes_sixteen_steps(moso, model, episodes):
    clip = episodes[1][None, :T]
    ok(moso("interpolate", MODEL, "seed_200001", "--output", "a.npy"))
    np.testing.assert_array_equal(np.load("a.npy"), model.interpolate(clip))
    ok(moso("interpolate", MODEL, "seed_200001", "--top-k", "0", "--given", "3,0", "--output", "b.npy"))
    np.testing.assert_array_equal(np.load("b.npy"), model.interpolate(clip, [0, 3]))
    ok(moso("interpolate", MODEL, "seed_200001", "--tokens-from", "whole_clip", "--output", "c.npy"))
    np.testing.assert_array_equal(np.load("c.npy"), model.interpolate(clip, tokens_from="whole_clip"))


def test_a_sparse_source_is_every_second_frame_of_the_result(moso, model, project, episodes):
    clip = episodes[1][None, :T]
    np.save("sparse.npy", clip[:, ::2])
    ok(moso("interpolate", MODEL, "sparse.npy", "--sparse", "--output", "a.npy"))
    np.testing.assert_array_equal(np.load("a.npy"), model.interpolate(clip))


def test_recombine_takes_each_component_from_its_source(moso, model, episodes):
    videos = {name: episodes[i][None, :T] for i, name in ((3, "scene"), (1, "object"), (2, "motion"))}
    sources = ("--scene", "seed_200003", "--object", "seed_200001", "--motion", "seed_200002")
    ok(moso("recombine", MODEL, *sources, "--output", "a.npy"))
    np.testing.assert_array_equal(np.load("a.npy"), model.recombine(**videos))
    ok(moso("recombine", MODEL, *sources, "--output", "a.png"))
    assert picture_size("a.png") == (4 * (SIZE + 2 * MARGIN), T * (SIZE + 2 * MARGIN))
    done = moso("recombine", MODEL, "--scene", "seed_200003", "--output", "a.npy")
    assert done.code == 2
    assert "--object, --motion" in done.err


def test_decompose_writes_parts_in_the_order_it_names(moso, model, episodes):
    clip = episodes[1][None, :T]
    done = ok(moso("decompose", MODEL, "seed_200001", "--output", "a.npy"))
    assert done.out.splitlines()[-1] == "parts: scene, object, motion, object_motion"
    np.testing.assert_array_equal(np.load("a.npy"), np.stack(list(model.decompose(clip).values()), axis=1))
    done = ok(moso("decompose", MODEL, "seed_200001", "--parts", "motion", "--parts", "scene", "--output", "b.npy"))
    assert done.out.splitlines()[-1] == "parts: motion, scene"
    np.testing.assert_array_equal(np.load("b.npy"), np.load("a.npy")[:, [2, 0]])
    both = moso("decompose", MODEL, "seed_200001", "--parts", "motion", "--thresholds", "0", "1", "--output", "c.npy")
    assert both.code == 2
    done = ok(moso("decompose", MODEL, "seed_200001", "seed_200002", "--output", "a.gif"))
    assert done.out.splitlines()[-1] == "parts: input, scene, object, motion, object_motion"
    # five rows, a column a clip
    assert read_file("a.gif").frames.shape[2:4] == (5 * (SIZE + 2 * MARGIN), 2 * (SIZE + 2 * MARGIN))


def test_thresholds_give_the_preprocessings_split(moso, project, episodes):
    clip = episodes[1][None, :T]
    ok(moso("decompose", MODEL, "seed_200001", "--thresholds", "0.2", "0.8", "--output", "a.npy"))
    scene, object_, _ = np.load("a.npy")[0]
    np.testing.assert_array_equal(scene + object_, clip[0])
    # By hand: the square, rows 3 to 7, has red 250 and the slope under it 40 + 2x. At frame t it leaves column t - 1, a
    # change of 210, 208, 206 of 255 (above 0.8: scene), and enters column t + 4, one of 200, 198, 196 (object).
    expected = np.zeros((T, SIZE, SIZE), dtype=bool)
    for t in range(1, T):
        expected[t, 3:8, t + 4] = True
    np.testing.assert_array_equal(object_.any(axis=-1), expected)


def test_thresholds_take_frames_of_any_one_size(moso, project):
    np.save("large.npy", np.full((2, T, 20, 30, 3), 7, dtype=np.uint8))
    ok(moso("decompose", MODEL, "large.npy", "--thresholds", "0.1", "0.9", "--output", "a.npy"))
    assert np.load("a.npy").shape == (2, 3, T, 20, 30, 3)
    sources = ("large.npy", "seed_200001")
    line = moso("decompose", MODEL, *sources, "--thresholds", "0.1", "0.9", "--output", "b.npy").refusal
    assert "seed_200001: frames of 16 x 16 pixels (height x width), those of large.npy are 20 x 30" in line
    ok(moso("decompose", MODEL, *sources, "--resize", "--thresholds", "0.1", "0.9", "--output", "b.npy"))
    assert np.load("b.npy").shape == (3, 3, T, SIZE, SIZE, 3)


def test_reconstruct_is_written_without_a_margin(moso, model, episodes):
    clip = episodes[2][None, :T]
    ok(moso("reconstruct", MODEL, "seed_200002", "--output", "a.npy"))
    np.testing.assert_array_equal(np.load("a.npy"), model.reconstruct(clip))
    ok(moso("reconstruct", MODEL, "seed_200002", "--output", "a.mp4"))
    assert read_file("a.mp4").frames.shape == (1, T, SIZE, SIZE, 3)


def test_encode_and_decode_are_reconstruction_in_two_halves(moso, model, project, episodes):
    ok(moso("encode", MODEL, "seed_200001", "seed_200002", "--output", "sub/two.safetensors"))
    with safe_open("sub/two.safetensors", framework="np") as file:
        assert file.get_tensor("motion").shape[:2] == (2, T)
    ok(moso("decode", MODEL, "sub/two.safetensors", "--output", "a.npy"))
    clips = np.stack([episodes[1][:T], episodes[2][:T]])
    np.testing.assert_array_equal(np.load("a.npy"), model.reconstruct(clips))
    ok(moso("decode", MODEL, "sub/two.safetensors", "--only", "motion", "--frames", "2", "--output", "b.npy"))
    np.testing.assert_array_equal(np.load("b.npy"), model.decompose(clips, ["motion"])["motion"][:, 2:3])
    other = moso("decode", "models/unconditional", "sub/two.safetensors", "--output", "c.npy")
    assert "codebook" in other.refusal


def test_encode_writes_a_file_a_clip_where_the_name_says_so(moso, model, episodes):
    ok(moso("encode", MODEL, "seed_200001", "seed_200002", "--output", "two_{}.safetensors"))
    assert not Path("two_{}.safetensors").exists()
    for number in range(2):
        ok(moso("decode", MODEL, f"two_{number:04d}.safetensors", "--output", "a.npy"))
        np.testing.assert_array_equal(np.load("a.npy"), model.reconstruct(episodes[number + 1][None, :T]))


def test_decode_plays_as_fast_as_what_was_encoded(moso, project):
    ok(moso("encode", MODEL, "seed_200001", "--output", "a.safetensors"))
    ok(moso("decode", MODEL, "a.safetensors", "--output", "a.mp4"))
    assert read_file("a.mp4").fps == 8  # the data set's
    ok(moso("decode", MODEL, "a.safetensors", "--fps", "12", "--output", "a.mp4"))
    assert read_file("a.mp4").fps == 12
    np.save("still.npy", np.zeros((T, SIZE, SIZE, 3), dtype=np.uint8))
    ok(moso("encode", MODEL, "still.npy", "--output", "b.safetensors"))
    ok(moso("decode", MODEL, "b.safetensors", "--output", "b.mp4"))
    assert read_file("b.mp4").fps == 5


def test_a_video_an_array_and_images_are_resized_alike(moso, model, project):
    """A centre that is one colour stays that colour, wherever it comes from."""
    wide = np.full((K, 32, 64, 3), 10, dtype=np.uint8)
    wide[:, :, 16:48] = 200
    np.save("wide.npy", wide)
    refused = moso("predict", MODEL, "wide.npy", "--output", "a.npy").refusal
    assert "32 x 64" in refused
    assert "16 x 16" in refused
    assert "--resize" in refused
    ok(moso("predict", MODEL, "wide.npy", "--resize", "--output", "a.npy"))
    np.testing.assert_array_equal(np.load("a.npy"), model.predict(np.full((1, K, SIZE, SIZE, 3), 200, np.uint8)))
    ok(moso("predict", MODEL, "push.mp4", "images", "--resize", "--output", "b.npy"))
    assert np.load("b.npy").shape == (2, T - K, SIZE, SIZE, 3)


def luma(frames: np.ndarray) -> np.ndarray:
    """What .mp4 keeps at full size; the noise of an untrained model has more colours than it can hold."""
    return frames @ np.array([0.299, 0.587, 0.114])


def read_file(name: str) -> Recording:
    return read(Path(name))


def picture_size(name: str) -> tuple[int, int]:
    with Image.open(name) as picture:
        return picture.height, picture.width
