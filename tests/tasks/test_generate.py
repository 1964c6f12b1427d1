"""Videos of nothing given."""

import numpy as np
import pytest
import torch

from moso.errors import MosoError
from moso.tasks.checks import InputError

T, SIZE = 4, 16


@pytest.fixture(params=["beside_prediction", "nothing_given"])
def able(made, request):
    """Trained for both, or never given anything."""
    return made(request.param, unconditional=True, given=2 if request.param == "beside_prediction" else 0)


def all_of(videos):
    return np.concatenate(list(videos))


def test_videos_come_in_batches_as_they_are_drawn(able):
    able.batch = 2
    parts = able.generate(5, seed=1)
    assert next(parts).shape == (2, T, SIZE, SIZE, 3)
    rest = list(parts)
    assert [len(part) for part in rest] == [2, 1]
    assert rest[0].dtype == np.uint8


def test_video_i_is_a_function_of_seed_and_i_alone(able):
    whole = all_of(able.generate(6, seed=1))
    able.batch = 4
    np.testing.assert_array_equal(all_of(able.generate(6, seed=1)), whole)
    np.testing.assert_array_equal(all_of(able.generate(3, first=2, seed=1)), whole[2:5])
    assert (all_of(able.generate(6, seed=2)) != whole).any()
    assert len({video.tobytes() for video in whole}) == 6


def test_it_goes_on_without_gradients_between_batches(able):
    videos = able.generate(2)
    next(videos)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_model_that_was_not_trained_for_it_says_how_to_train_one_before_a_video_is_asked_for(model):
    with pytest.raises(MosoError) as error:
        model.generate(2)
    assert "train_transformer.loss.unconditional_share" in str(error.value)
    assert "given_frames = 0" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 1, "first": -1}, {"count": 1, "seed": -1}])
def test_numbers_that_do_not_fit_are_refused_at_once(able, wrong):
    with pytest.raises(InputError, match=f"{list(wrong)[-1]}: expected a whole number"):
        able.generate(**wrong)
