"""Long prediction: what goes from clip to clip, worked out on tokens made by hand, and what a caller can count on."""

import numpy as np
import pytest
import torch

from moso.tasks.checks import InputError
from moso.tasks.predict import condition, draw
from moso.tasks.rollout import carry_tokens, clip_seed, fade
from moso.tokens.clip_tokens import ClipTokens
from moso.training.random import key_seed

K, T, P = 2, 4, 2


def numbered(clips: int, frames: int) -> ClipTokens:
    """Motion token = 100 x clip + 10 x frame + place; scene and object tokens that name their clip."""
    clip = torch.arange(clips).view(-1, 1, 1)
    motion = 100 * clip[..., None] + 10 * torch.arange(frames).view(1, -1, 1, 1) + torch.arange(4).view(1, 1, 2, 2)
    return ClipTokens(1000 + clip.expand(-1, 8, 8), 2000 + clip.expand(-1, 4, 4), motion)


def test_last_k_frames_motion_tokens_become_the_given_ones():
    tokens = numbered(2, frames=12)
    known = carry_tokens(tokens, given_frames=4, given_motion_frames=4)
    assert torch.equal(known.scene, tokens.scene)
    assert torch.equal(known.object, tokens.object)
    assert known.motion.shape == (2, 4, 2, 2)
    assert known.motion[1, :, 0, 1].tolist() == [181, 191, 201, 211]  # frames 8, 9, 10, 11 of clip 1, place 1


def test_of_the_last_k_frames_only_those_in_whole_pools_are_given():
    # K = 5 in pools of 2: four are given, and they are the first of the last five, so that places in time stay.
    known = carry_tokens(numbered(1, frames=12), given_frames=5, given_motion_frames=4)
    assert known.motion[0, :, 0, 0].tolist() == [70, 80, 90, 100]


def test_one_pool_for_the_whole_clip_carries_no_motion():
    # BAIR: K = 1 in a pool of 16 frames.
    assert carry_tokens(numbered(3, frames=16), 1, 0).motion.shape == (3, 0, 2, 2)


@pytest.mark.parametrize("carry", ["tokens", "frames"])
def test_first_clip_is_the_prediction_and_a_shorter_rollout_the_beginning_of_a_longer_one(model, clips, carry):
    long = model.rollout(clips[:, :K], 7, carry=carry, seed=3)
    assert (long.shape, long.dtype) == ((5, 7, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(long[:, :P], model.predict(clips[:, :K], seed=3))
    for length in (1, 2, 3, 6):
        np.testing.assert_array_equal(model.rollout(clips[:, :K], length, carry=carry, seed=3), long[:, :length])


def test_second_clip_goes_on_from_the_first_ones_tokens(model, clips):
    known = condition(model, clips[:, :K])
    first = draw(model, known, [3] * 5, model.sampling)
    carried = carry_tokens(first, K, model.transformer.given_motion_frames)
    second = draw(model, carried, [key_seed(3, "rollout", 1)] * 5, model.sampling)
    expected = np.concatenate([model.decode(first, [2, 3]), model.decode(second, [2, 3])], axis=1)
    np.testing.assert_array_equal(model.rollout(clips[:, :K], 4, fade=False, seed=3), expected)


def test_second_clip_of_carried_frames_is_the_prediction_from_the_first_one(model, clips):
    first = model.predict(clips[:, :K], seed=3)
    second = model.predict(first[:, -K:], seed=clip_seed(3, 1))
    rolled = model.rollout(clips[:, :K], 4, carry="frames", fade=False, seed=3)
    np.testing.assert_array_equal(rolled, np.concatenate([first, second], axis=1))


def test_rollout_of_a_clip_depends_on_its_seed_alone_not_on_the_batch(model, clips):
    whole = model.rollout(clips[:, :K], 5, seed=[0, 1, 2, 3, 4])
    model.batch = 2
    np.testing.assert_array_equal(model.rollout(clips[:, :K], 5, seed=[0, 1, 2, 3, 4]), whole)
    np.testing.assert_array_equal(model.rollout(clips[3:4, :K], 5, seed=3), whole[3:4])


def test_clips_of_a_rollout_draw_by_different_seeds():
    seeds = [clip_seed(5, clip) for clip in range(20)]
    assert seeds[0] == 5
    assert len(set(seeds)) == 20
    assert not set(seeds[1:]) & {clip_seed(6, clip) for clip in range(20)}


def test_offset_fades_out_over_two_frames():
    frames = np.full((1, 4, 1, 1, 3), 100, np.uint8)
    offset = np.array([[[[30, -90, 600]]]], np.int16)
    faded = fade(frames, offset, over=2)
    # Two thirds, one third, nothing.
    assert faded[0, :, 0, 0].tolist() == [[120, 40, 255], [110, 70, 255], [100, 100, 100], [100, 100, 100]]
    assert frames.max() == 100
    np.testing.assert_array_equal(fade(frames[:, :1], offset, over=2), faded[:, :1])


@pytest.mark.parametrize("carry", ["tokens", "frames"])
def test_faded_and_not_from_one_sampling_are_what_each_alone_is(model, clips, carry):
    both = model.rollout_faded_and_not(clips[:, :K], 6, carry=carry, seed=3)
    for video, fades in enumerate((True, False)):
        alone = model.rollout(clips[:, :K], 6, carry=carry, fade=fades, seed=3)
        np.testing.assert_array_equal(both[:, video], alone)


def test_faded_joint_starts_from_the_frame_before_it(model, clips):
    cut, faded = (model.rollout(clips[:, :K], 6, fade=which, seed=3).astype(int) for which in (False, True))
    tokens = draw(model, condition(model, clips[:, :K]), [3] * 5, model.sampling)
    second = draw(model, carry_tokens(tokens, K, model.transformer.given_motion_frames), [clip_seed(3, 1)] * 5,
                  model.sampling)  # fmt: skip
    offset = cut[:, 1] - model.decode(second, [1])[:, 0].astype(int)
    np.testing.assert_array_equal(faded[:, :2], cut[:, :2])
    for i, share in ((2, 2 / 3), (3, 1 / 3)):
        np.testing.assert_allclose(faded[:, i], np.clip(cut[:, i] + share * offset, 0, 255), atol=0.51)
    assert (faded[:, 2] != cut[:, 2]).any()


@pytest.mark.parametrize("carry", ["tokens", "frames"])
def test_trials_are_the_rollouts_of_one_seed_after_the_other(model, clips, carry):
    seeds = [5, 40, 7, 8, 9]
    parts = list(model.trials(clips[:, :K], 3, 5, carry=carry, seed=seeds))
    assert [number for part, _ in parts for number in range(part.start, part.stop)] == [0, 1, 2]
    together = np.concatenate([videos for _, videos in parts], axis=1)
    assert together.shape == (5, 3, 5, 16, 16, 3)
    for number in range(3):
        alone = model.rollout(clips[:, :K], 5, carry=carry, seed=[seed + number for seed in seeds])
        np.testing.assert_array_equal(together[:, number], alone)


def test_trials_encode_the_given_frames_once_and_hold_a_batch_of_videos(model, clips, monkeypatch):
    encoded = []
    encode = model.vqvae.encode
    monkeypatch.setattr(model.vqvae, "encode", lambda frames: encoded.append(len(frames)) or encode(frames))
    monkeypatch.setattr(model, "batch", 4)
    sizes = [videos.shape[:2] for _, videos in model.trials(clips[:2, :K], 7)]
    assert encoded == [2]
    assert sizes == [(2, 2), (2, 2), (2, 2), (2, 1)]


def test_no_frame_to_predict_is_refused(model, clips):
    with pytest.raises(InputError, match="length: expected a whole number from 1, got 0"):
        model.rollout(clips[:, :K], 0)


def test_model_without_given_frames_neither_predicts_nor_rolls_out(made, clips):
    model = made("nothing_given", given=0)
    for task in (lambda: model.predict(clips[:, :0]), lambda: model.rollout(clips[:, :0], 3)):
        with pytest.raises(InputError, match="takes no given frames; ask it to generate"):
            task()
