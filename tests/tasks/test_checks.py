import numpy as np
import pytest
import torch

from moso.tasks.checks import InputError, check_frames, seeds_of

FITTING = {"frames_expected": 2, "height": 4, "width": 6}


def test_fitting_frames_are_handed_on_as_they_are():
    frames = np.zeros((3, 2, 4, 6, 3), np.uint8)
    assert check_frames(frames, **FITTING) is frames


@pytest.mark.parametrize(
    ("frames", "given"),
    [
        (torch.zeros(3, 2, 4, 6, 3, dtype=torch.uint8), "got uint8 (3, 2, 4, 6, 3); hand over a numpy array"),
        ([[0]], "got list; hand over a numpy array"),
        (np.zeros((3, 2, 6, 4, 3), np.uint8), "4 x 6 pixels"),
        (np.zeros((3, 2, 4, 6, 4), np.uint8), "4 channels instead of 3"),
    ],
)
def test_message_names_what_was_expected_and_what_was_given(frames, given):
    with pytest.raises(InputError) as error:
        check_frames(frames, **FITTING)
    assert "expected uint8 (N, 2, 4, 6, 3)" in str(error.value)
    assert given in str(error.value)


def test_one_seed_serves_every_clip_and_several_go_one_each():
    assert seeds_of(7, 3) == [7, 7, 7]
    assert seeds_of(np.int64(7), 1) == [7]
    assert seeds_of((4, 5), 2) == [4, 5]
    assert seeds_of(np.array([4, 5]), 2) == [4, 5]


@pytest.mark.parametrize("seed", [-1, [3, -1], [0], [0, 1, 2], 1.5, "0", [0, 0.5], True, None])
def test_seeds_that_do_not_fit_are_refused(seed):
    with pytest.raises(InputError, match="seed"):
        seeds_of(seed, 2)
