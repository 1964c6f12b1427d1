"""One video's scene, another's object, a third's motion."""

import itertools

import numpy as np
import pytest

from moso.tasks.checks import InputError
from moso.tokens.clip_tokens import ClipTokens


def test_every_pairing_is_the_decode_of_the_tokens_it_names(model, clips):
    tokens = model.encode(clips)
    for scene, object, motion in itertools.product(range(2), repeat=3):
        videos = {
            "scene": clips[scene : scene + 1],
            "object": clips[object : object + 1],
            "motion": clips[motion][None],
        }
        mixed = ClipTokens(tokens.scene[[scene]], tokens.object[[object]], tokens.motion[[motion]])
        np.testing.assert_array_equal(model.recombine(**videos), model.decode(mixed))


def test_a_clip_with_itself_is_its_reconstruction(model, clips):
    model.batch = 2
    again = model.recombine(scene=clips, object=clips, motion=clips)
    np.testing.assert_array_equal(again, model.reconstruct(clips))


def test_missing_and_unequal_videos_are_refused_by_name(model, clips):
    with pytest.raises(InputError, match="object: expected a video for each of scene, object, motion, got none for th"):
        model.recombine(scene=clips, motion=clips)
    with pytest.raises(InputError, match=r"equally many clips .*, got 5 of scene, 2 of object, 5 of motion"):
        model.recombine(scene=clips, object=clips[:2], motion=clips)
    with pytest.raises(InputError, match=r"^motion: expected uint8 \(N, 4, 16, 16, 3\), got uint8 \(5, 3, "):
        model.recombine(scene=clips, object=clips, motion=clips[:, :3])


def test_component_that_the_model_lacks_is_refused_by_name(made, clips):
    model = made("content", vqvae={"decomposition": "motion_content"})
    assert model.components == ("scene", "motion")
    with pytest.raises(InputError, match="object: this model has no such component; it takes scene, motion"):
        model.recombine(scene=clips, object=clips, motion=clips)
    tokens = model.encode(clips)
    swapped = clips[::-1].copy()
    mixed = ClipTokens(tokens.scene, tokens.object, tokens.motion.flip(0))
    np.testing.assert_array_equal(model.recombine(scene=clips, motion=swapped), model.decode(mixed))
