import numpy as np
import pytest
import torch

from moso.tasks.checks import (
    InputError,
    check_choice,
    check_count,
    check_frame_numbers,
    check_frames,
    check_names,
    seeds_of,
)

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


@pytest.mark.parametrize("wrong", [0, -3, 2.0, "2", True, None])
def test_counts_are_whole_numbers_from_one(wrong):
    assert check_count("length", np.int64(3)) == 3
    with pytest.raises(InputError) as error:
        check_count("length", wrong)
    assert str(error.value) == f"length: expected a whole number from 1, got {wrong!r}"


@pytest.mark.parametrize("wrong", [[0.5], [True], ["1"], [3], [-1], []])
def test_frame_numbers_lie_in_the_clip(wrong):
    assert check_frame_numbers("given", np.array([2, 0, 2]), 3) == [2, 0, 2]
    with pytest.raises(InputError) as error:
        check_frame_numbers("given", wrong, 3)
    assert str(error.value) == f"given: expected numbers from 0 to 2, at least one, got {wrong}"


def test_unknown_choice_names_the_known_ones():
    check_choice("carry", "frames", ("tokens", "frames"))
    with pytest.raises(InputError) as error:
        check_choice("carry", "pixels", ("tokens", "frames"))
    assert str(error.value) == "carry: expected one of tokens, frames, got 'pixels'"


def test_names_are_a_list_and_a_text_alone_is_not_read_letter_by_letter():
    known = ("scene", "object")
    assert check_names("only", ("object", "scene"), known) == ["object", "scene"]
    assert check_names("only", {"scene"}, known) == ["scene"]
    for wrong in ("scene", 3, None, iter(["scene"])):
        with pytest.raises(InputError, match=r"^only: expected a list of scene, object, got "):
            check_names("only", wrong, known)
    with pytest.raises(InputError, match=r"^only: expected at least one of scene, object$"):
        check_names("only", [], known)
    with pytest.raises(InputError, match=r"^only: expected one of scene, object, got 's'$"):
        check_names("only", ["s"], known)


def test_frames_of_any_length_and_size_where_nothing_is_expected():
    free = {"frames_expected": None, "height": None, "width": None}
    frames = np.zeros((1, 7, 3, 9, 3), np.uint8)
    assert check_frames(frames, **free) is frames
    with pytest.raises(InputError, match=r"^clip: expected uint8 \(N, T, H, W, 3\), got uint8 \(1, 0, 3, 9, 3\)"):
        check_frames(frames[:, :0], **free, name="clip")


def test_one_seed_serves_every_clip_and_several_go_one_each():
    assert seeds_of(7, 3) == [7, 7, 7]
    assert seeds_of(np.int64(7), 1) == [7]
    assert seeds_of((4, 5), 2) == [4, 5]
    assert seeds_of(np.array([4, 5]), 2) == [4, 5]


@pytest.mark.parametrize("seed", [-1, [3, -1], [0], [0, 1, 2], 1.5, "0", [0, 0.5], True, None])
def test_seeds_that_do_not_fit_are_refused(seed):
    with pytest.raises(InputError, match="seed"):
        seeds_of(seed, 2)
