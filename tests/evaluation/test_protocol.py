import dataclasses

import numpy as np
import pytest

from moso.config import to_dict
from moso.errors import ConfigError
from moso.evaluation.protocol import Protocol, clips_digest, splits_in_words
from moso.provenance import digest_json


def protocol(**changes):
    values = {
        "data_set": "sim_push", "split": "test", "clips_digest": "c0",
        "clips": 4, "episodes": 2, "clip_rule": "stride T",
        "height": 64, "width": 64, "given_frames": 2, "clip_frames": 12, "predicted_frames": 10, "samples_per_video": 1,
        "seed": 0,
    }  # fmt: skip
    return Protocol(**{**values, **changes})


OTHER = {
    "data_set": "bair", "split": "validation", "clips_digest": "c1", "splits": {"rule": "lists", "substitute": True},
    "clips": 5, "episodes": 3, "clip_rule": "all windows",
    "height": 32, "width": 32, "samples_per_video": 100, "seed": 1,
    "given_frames_count": True,
    "metrics": {"psnr": "joint"}, "task": "interpolation", "best_of": "each_metric_over_video_mean",
    "carry": 2, "fade": True,
    "fvd": {"batch": 256}, "videos_drawn": 2048, "resize": "area means", "networks": {"i3d_torchscript.pt": "ab"},
}  # fmt: skip


@pytest.mark.parametrize("field", OTHER)
def test_every_field_changes_the_digest(field):
    assert protocol(**{field: OTHER[field]}).digest != protocol().digest


def test_other_frames_change_the_digest():
    assert protocol(given_frames=3, predicted_frames=9).digest != protocol().digest
    checked = {*OTHER, "given_frames", "clip_frames", "predicted_frames"}
    assert checked == {f.name for f in dataclasses.fields(Protocol)}


def test_digest_is_that_of_its_plain_data():
    assert protocol().digest == digest_json(to_dict(protocol()))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"given_frames": 12, "predicted_frames": 0}, "given_frames"),
        ({"predicted_frames": 0}, "predicted_frames"),
        ({"given_frames": 0}, "given_frames"),
        ({"clips": 0}, "clips"),
    ],
)
def test_contradictions_are_refused(changes, field):
    with pytest.raises(ConfigError, match=field):
        protocol(**changes)


def test_clips_digest_knows_ids_pixels_and_order():
    clips = [np.zeros((2, 4, 4, 3), np.uint8), np.ones((2, 4, 4, 3), np.uint8)]
    first = clips_digest(["a@0", "b@0"], clips)
    assert clips_digest(["a@0", "b@0"], [c.copy() for c in clips]) == first
    changed = clips[0].copy()
    changed[1, 3, 3, 2] = 1
    others = [(["a@0", "c@0"], clips), (["a@0", "b@0"], clips[::-1]), (["a@0", "b@0"], [changed, clips[1]])]
    assert len({first, *(clips_digest(*other) for other in others)}) == 4


def test_a_substitute_for_a_published_list_cannot_be_overlooked():
    label = {"rule": "lists", "lists": {"test.txt": "ab" * 32}, "substitute": False}
    assert splits_in_words(label) == "by published lists: test.txt (abababababab)"
    substitute = {"rule": "lists", "lists": {}, "substitute": True, "seed": 3}
    assert splits_in_words(substitute).startswith("SUBSTITUTE: a seeded hash (seed 3)")
    assert splits_in_words({}) == ""
