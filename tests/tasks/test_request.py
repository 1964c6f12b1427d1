"""Every task by its name and plain parameters, against the facade's own methods."""

import dataclasses

import numpy as np
import pytest
import torch

from moso.tasks.checks import InputError
from moso.tasks.request import PARAMETERS, TASKS, answer, clip_tokens, flat_tokens
from moso.tokens.clip_tokens import ClipTokens, TokenGrids

K, T, SIZE = 2, 4, 16


@pytest.fixture
def able(made):
    return made("able", unconditional=True)


def settings(model, **changes):
    return dataclasses.replace(model.sampling, **changes)


def test_no_parameters_is_a_prediction_by_seed_zero(model, clips):
    np.testing.assert_array_equal(answer(model, clips[:, :K], {}), model.predict(clips[:, :K]))


def test_sampling_settings_reach_the_sampling(model, clips):
    given = clips[:, :K]
    asked = {"seed": 3, "steps": 5, "temperature": 0.5, "top_k": 4, "schedule": "square", "samples": 2}
    drawn = {"motion_temperature": 0.5, "scene_object_temperature": 0.5, "schedule": "square"}
    own = settings(model, steps=5, top_k=4, **drawn)
    np.testing.assert_array_equal(answer(model, given, asked), model.predict(given, seed=3, samples=2, sampling=own))
    own = settings(model, steps=5, top_k=4, scene_object="argmax", **drawn)
    expected = model.predict(given, seed=3, samples=2, sampling=own)
    np.testing.assert_array_equal(answer(model, given, asked | {"scene_object": "argmax"}), expected)


def test_temperature_zero_leaves_the_likeliest_scene_and_object_tokens(model, clips):
    certain = {"temperature": 0.0, "steps": 1}
    one = answer(model, clips[:, :K], certain)
    np.testing.assert_array_equal(one, answer(model, clips[:, :K], certain | {"seed": 1}))
    np.testing.assert_array_equal(one, answer(model, clips[:, :K], certain | {"scene_object": "argmax"}))


def test_without_temperature_and_confidence_noise_the_seed_changes_nothing(model, clips):
    # Weights as first drawn give the same tokens in whatever order they are kept; these do not.
    with torch.no_grad():
        for weights in model.transformer.parameters():
            weights.copy_(0.3 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(weights.numel())))
    certain = {"temperature": 0.0, "scene_object": "argmax", "steps": 8, "confidence_noise": 0.0}
    one = answer(model, clips[:, :K], certain)
    for seed in (1, 2, 3):
        np.testing.assert_array_equal(answer(model, clips[:, :K], certain | {"seed": seed}), one)
    noisy = [answer(model, clips[:, :K], certain | {"seed": seed, "confidence_noise": 3.0}) for seed in (1, 2, 3)]
    assert any(not np.array_equal(noisy[0], other) for other in noisy[1:])


def test_rollout(model, clips):
    given, asked = clips[:, :K], {"task": "rollout", "length": 5, "carry": "frames", "fade": False, "seed": 3}
    expected = model.rollout(given, 5, carry="frames", fade=False, seed=3)
    np.testing.assert_array_equal(answer(model, given, asked), expected)


def test_generate_gives_as_many_videos_as_there_are_clips_whose_frames_are_not_read(able):
    expected = np.concatenate(list(able.generate(3, first=4, seed=3)))
    for frames in (np.zeros((3, 0, SIZE, SIZE, 3), np.uint8), np.full((3, 1, SIZE, SIZE, 3), 99, np.uint8)):
        np.testing.assert_array_equal(answer(able, frames, {"task": "generate", "first": 4, "seed": 3}), expected)


def test_interpolate_takes_sixteen_steps_where_none_are_named(model, clips):
    np.testing.assert_array_equal(answer(model, clips, {"task": "interpolate", "given": []}), model.interpolate(clips))
    asked = {"task": "interpolate", "given": [3, 0], "tokens_from": "whole_clip", "steps": 2, "seed": 3}
    expected = model.interpolate(clips, [0, 3], tokens_from="whole_clip", seed=3, sampling=settings(model, steps=2))
    np.testing.assert_array_equal(answer(model, clips, asked), expected)


def test_recombine_names_clips_by_number(model, clips):
    asked = {"task": "recombine", "scene": [0, 4], "object": [1, 1], "motion": [2, 3]}
    expected = model.recombine(scene=clips[[0, 4]], object=clips[[1, 1]], motion=clips[[2, 3]])
    np.testing.assert_array_equal(answer(model, clips, asked), expected)
    with pytest.raises(InputError, match="object: expected numbers of clips from 0 to 4, got \\[5\\]"):
        answer(model, clips, {"task": "recombine", "scene": [0], "object": [5], "motion": [0]})


def test_decompose_preprocess_and_reconstruct(model, clips):
    parts = answer(model, clips, {"task": "decompose", "parts": ["object_motion"]})
    assert list(parts) == ["object_motion"]
    np.testing.assert_array_equal(parts["object_motion"], model.decompose(clips)["object_motion"])
    assert list(answer(model, clips, {"task": "decompose"})) == ["scene", "object", "motion", "object_motion"]
    split = answer(model, clips, {"task": "preprocess", "low": 0.02, "high": 0.5})
    np.testing.assert_array_equal(split["object"], model.preprocess(clips, 0.02, 0.5)["object"])
    np.testing.assert_array_equal(answer(model, clips, {"task": "reconstruct"}), model.reconstruct(clips))


def test_tokens_go_out_as_rows_and_come_in_as_one_list(model, clips):
    tokens = answer(model, clips, {"task": "encode"})
    assert (tokens.dtype, tokens.shape) == (np.int64, (5, 8 * 8 + 4 * 4 + 4 * 2 * 2))
    nothing = np.zeros((5, 0, SIZE, SIZE, 3), np.uint8)
    asked = {"task": "decode", "tokens": tokens.ravel()}
    np.testing.assert_array_equal(answer(model, nothing, asked), model.reconstruct(clips))
    one = answer(model, nothing, asked | {"frames": [2], "tokens": tokens.ravel().tolist()})
    np.testing.assert_array_equal(one, model.reconstruct(clips)[:, [2]])
    scene = answer(model, nothing, asked | {"only": ["scene"]})
    np.testing.assert_array_equal(scene, model.decompose(clips, ["scene"])["scene"])
    for wrong in ([], [1, 2, 3]):
        with pytest.raises(InputError, match=f"tokens: expected one list of 96 tokens a clip.*, got {len(wrong)} tok"):
            answer(model, nothing, {"task": "decode", "tokens": wrong})


def test_a_row_is_scene_object_then_motion_frame_by_frame():
    grids = TokenGrids(2, scene=(1, 2), object=(1, 1), motion=(1, 2))
    tokens = ClipTokens(torch.tensor([[[1, 2]]]), torch.tensor([[[3]]]), torch.tensor([[[[4, 5]], [[6, 7]]]]))
    flat = flat_tokens(tokens)
    assert flat.tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    again = clip_tokens(flat, grids)
    assert all(torch.equal(getattr(again, name), getattr(tokens, name)) for name in ("scene", "object", "motion"))


def test_a_row_has_no_tokens_of_an_absent_component(made, clips):
    model = made("content", vqvae={"decomposition": "motion_content"})
    tokens = answer(model, clips, {"task": "encode"})
    assert tokens.shape[1] == model.vqvae.grids.tokens
    video = answer(model, clips, {"task": "decode", "tokens": tokens.ravel()})
    np.testing.assert_array_equal(video, model.reconstruct(clips))


def test_unknown_task_names_the_known_ones(model, clips):
    with pytest.raises(InputError) as error:
        answer(model, clips, {"task": "paint"})
    assert str(error.value) == f"task: expected one of {', '.join(TASKS)}, got 'paint'"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"length": 4}, "length: task 'predict' does not read it; it reads task, seed, steps, temperature, top_k, "),
        ({"task": "reconstruct", "seed": 1}, "seed: task 'reconstruct' does not read it; it reads task"),
        ({"task": "rollout"}, "length: task 'rollout' needs it"),
        ({"steps": 0}, "steps = 0: must be at least 1"),
        ({"schedule": "cubic"}, "schedule: expected one of cosine, linear, square, got 'cubic'"),
        ({"temperature": -1.0}, "temperature: expected a number from 0, got -1.0"),
        ({"confidence_noise": -1.0}, "confidence_noise: expected a finite number from 0, got -1.0"),
        ({"confidence_noise": float("nan")}, "confidence_noise: expected a finite number from 0, got nan"),
        ({"scene_object": "max"}, "scene_object: expected one of sample, argmax, got 'max'"),
        ({"task": "interpolate", "scene_object": "argmax"}, "scene_object: task 'interpolate' does not read it"),
        ({"sped": 1}, "parameter: expected one of task, seed, "),
        ({"task": "recombine", "scene": [0], "motion": [0]}, "object: expected a video for each of"),
    ],
)
def test_parameters_that_do_not_fit_the_task_are_refused(model, clips, asked, told):
    with pytest.raises(InputError) as error:
        answer(model, clips[:, :K], asked)
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_every_task_has_an_answer_and_every_parameter_a_task():
    assert {task for parameter in PARAMETERS.values() for task in parameter.tasks} == set(TASKS)
    assert all(set(parameter.tasks) <= set(TASKS) for parameter in PARAMETERS.values())
