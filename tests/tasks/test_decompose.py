"""Components drawn alone, and Algorithm 1's own split."""

import numpy as np
import pytest

from moso.tasks import Model
from moso.tasks.checks import InputError


def test_object_with_motion_is_drawn_from_both(model, clips):
    alone = model.decompose(clips)
    tokens = model.encode(clips)
    np.testing.assert_array_equal(alone["object_motion"], model.decode(tokens, only={"object", "motion"}))
    assert (alone["object_motion"] != alone["object"]).any()
    some = model.decompose(clips, ["motion", "scene"])
    assert list(some) == ["motion", "scene"]
    np.testing.assert_array_equal(some["motion"], alone["motion"])


def test_only_present_components_are_drawn(made, clips):
    content = made("content", vqvae={"decomposition": "motion_content"})
    assert list(content.decompose(clips)) == ["scene", "motion"]
    whole = made("frame_wise", vqvae={"decomposition": "none"}, transformer={"show_codes": False})
    assert list(whole.decompose(clips)) == ["motion"]
    np.testing.assert_array_equal(whole.decompose(clips)["motion"], whole.reconstruct(clips))
    with pytest.raises(InputError, match="parts: this model decomposes without 'object_motion'; it has scene, motion"):
        content.decompose(clips, ["object_motion"])


@pytest.mark.parametrize("parts", [[], ["sky"]])
def test_unknown_parts_are_refused(model, clips, parts):
    with pytest.raises(InputError, match=r"parts: expected .*one of scene, object, motion, object_motion"):
        model.decompose(clips, parts)


def test_pixels_are_split_by_their_change():
    # One row of pixels: still, changed by 51 (0.2), changed by 255 (1.0); thresholds 0.1 and 0.9.
    first, second = np.array([[80, 80, 0], [80, 131, 255]], np.uint8)
    clip = np.stack([first, second]).reshape(1, 2, 1, 3, 1).repeat(3, axis=-1)
    split = Model.preprocess(clip)
    assert list(split) == ["scene", "object", "motion"]
    assert split["scene"][0, 1, 0, :, 0].tolist() == [80, 0, 255]
    assert split["object"][0, 1, 0, :, 0].tolist() == [0, 131, 0]
    assert split["motion"][0, 1, 0, :, 0].tolist() == [128, 153, 255]  # (0 + 1) / 2, (0.2 + 1) / 2, (1 + 1) / 2
    np.testing.assert_array_equal(split["scene"] + split["object"], clip)
    assert Model.preprocess(clip, 0.3, 0.9)["object"].max() == 0
    assert Model.preprocess(clip, 0.1, 1.0)["object"][0, 1, 0, :, 0].tolist() == [0, 131, 255]


def test_split_of_clips_of_any_length_and_size(clips):
    wide = np.concatenate([clips, clips], axis=3)[:, :1]
    np.testing.assert_array_equal(Model.preprocess(wide)["scene"], wide)
    with pytest.raises(InputError, match=r"expected uint8 \(N, T, H, W, 3\), got uint8 \(5, 0, 16, 32, 3\)"):
        Model.preprocess(wide[:, :0])


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.9), (0.5, 0.4), (0.1, float("nan"))])
def test_thresholds_that_split_nothing_are_refused(clips, low, high):
    with pytest.raises(InputError, match="expected 0 <= low <= high"):
        Model.preprocess(clips, low, high)
