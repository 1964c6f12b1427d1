"""Missing frames drawn between given ones."""

import dataclasses

import numpy as np
import pytest
import torch

from moso.frames.clips import to_float
from moso.tasks.checks import InputError
from moso.tasks.interpolate import draw_missing, fill_frames

T, SIZE = 4, 16


def grey(*values: int) -> np.ndarray:
    """One clip of one pixel: uint8 (1, T, 1, 1, 3)."""
    return np.array(values, np.uint8).reshape(1, -1, 1, 1, 1).repeat(3, axis=-1)


@pytest.mark.parametrize(
    ("given", "how", "expected"),
    [
        ([0, 4], "blend", [0, 25, 50, 75, 100]),
        ([0, 4], "hold", [0, 0, 0, 0, 100]),
        ([1, 3], "blend", [7, 7, 28, 49, 49]),  # the first given frame stands before it, the last one after it
        ([1, 3], "hold", [7, 7, 7, 49, 49]),
        ([2], "blend", [90, 90, 90, 90, 90]),
        ([0, 1, 2, 3, 4], "blend", [0, 7, 90, 49, 100]),
    ],
)
def test_missing_frames_are_filled_from_given_neighbours(given, how, expected):
    filled = fill_frames(grey(0, 7, 90, 49, 100), given, how)
    assert filled[0, :, 0, 0, 0].tolist() == expected


@pytest.mark.parametrize("given", [[0, 2], [1, 3], [3], [0, 1, 3]])
def test_changing_a_missing_frame_changes_nothing(model, clips, given):
    missing = [t for t in range(T) if t not in given]
    changed = clips.copy()
    changed[:, missing] = 255 - changed[:, missing]
    np.testing.assert_array_equal(model.interpolate(changed, given, seed=3), model.interpolate(clips, given, seed=3))
    changed[:, given[0]] = 255 - changed[:, given[0]]
    assert (model.interpolate(changed, given, seed=3) != model.interpolate(clips, given, seed=3)).any()


@pytest.mark.parametrize("tokens_from", ["given_frames", "whole_clip"])
def test_given_frames_are_the_decode_of_the_tokens_that_stay(model, clips, tokens_from):
    given = [0, 3]
    source = fill_frames(clips, given) if tokens_from == "given_frames" else clips
    video = model.interpolate(clips, given, tokens_from=tokens_from, seed=3)
    np.testing.assert_array_equal(video[:, given], model.decode(model.encode(source), given))
    assert (video[:, [1, 2]] != model.decode(model.encode(source), [1, 2])).any()


def test_tokens_of_the_whole_clip_know_the_missing_frames(model, clips):
    changed = clips.copy()
    changed[:, 1] = 255 - changed[:, 1]
    before, after = (model.interpolate(video, [0, 2], tokens_from="whole_clip") for video in (clips, changed))
    assert (before != after).any()


def test_only_missing_frames_motion_tokens_are_drawn(model, clips):
    tokens = model.encode(clips)
    drawn = draw_missing(model, clips, [1, 2], [0] * 5, model.sampling)
    assert torch.equal(drawn.scene, tokens.scene)
    assert torch.equal(drawn.object, tokens.object)
    assert torch.equal(drawn.motion[:, [1, 2]], tokens.motion[:, [1, 2]])
    assert not torch.equal(drawn.motion[:, [0, 3]], tokens.motion[:, [0, 3]])
    assert int(drawn.motion.max()) < 32  # no mask is left


def test_every_second_frame_in_sixteen_steps_is_the_default(model, clips):
    sixteen = dataclasses.replace(model.sampling, steps=16)
    expected = model.interpolate(clips, [0, 2], seed=3, sampling=sixteen)
    np.testing.assert_array_equal(model.interpolate(clips, seed=3), expected)
    assert (model.interpolate(clips, seed=3, sampling=model.sampling) != expected).any()


def test_nothing_missing_is_the_reconstruction(model, clips):
    np.testing.assert_array_equal(model.interpolate(clips, range(T)), model.reconstruct(clips))


def test_interpolation_of_a_clip_depends_on_its_seed_alone_not_on_the_batch(model, clips):
    whole = model.interpolate(clips, seed=[0, 1, 2, 3, 4])
    model.batch = 2
    np.testing.assert_array_equal(model.interpolate(clips, seed=[0, 1, 2, 3, 4]), whole)
    np.testing.assert_array_equal(model.interpolate(clips[2:3], seed=2), whole[2:3])


@pytest.mark.parametrize("wiring", ["two", "single"])
def test_what_shows_given_motion_and_codes_is_filled_in_too(made, clips, wiring):
    shown = dict.fromkeys(("show_given_motion", "show_codes"), wiring == "two")
    model = made(f"shown_{wiring}", transformer={"wiring": wiring, **shown})
    changed = clips.copy()
    changed[:, [1, 2]] = 0
    np.testing.assert_array_equal(model.interpolate(changed, [0, 3]), model.interpolate(clips, [0, 3]))


def test_model_without_given_frames_reads_masks_for_a_pseudo_clip(made, clips):
    model = made("nothing_given_codes", given=0, transformer={"show_codes": True})
    read = []
    inner = model.transformer.guidance
    model.transformer.guidance = lambda *tokens: read.append(tokens) or inner(*tokens)
    model.interpolate(clips)
    assert all(bool((part == model.transformer.mask).all()) for part in read[0][2:4])
    target = model.vqvae.encode(to_float(torch.from_numpy(fill_frames(clips, [0, 2]))))
    assert torch.equal(read[0][0], target.scene)


@pytest.mark.parametrize("given", [[], [4], [0, -1]])
def test_given_frames_that_are_not_there_are_refused(model, clips, given):
    with pytest.raises(InputError) as error:
        model.interpolate(clips, given)
    assert str(error.value) == f"given: expected numbers from 0 to 3, at least one, got {given}"
