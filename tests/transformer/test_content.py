import math

import pytest
import torch
from small_transformers import MOTION_ALONE, NO_OBJECT, SINGLE, SINGLE_DEVIATIONS, UNEQUAL, build

from moso.errors import ConfigError
from moso.transformer.content import towards


@pytest.mark.parametrize("wiring", [{}, SINGLE])
def test_merged_positions_need_a_scene_and_an_object_of_equal_grids(wiring):
    for grids, named in (
        (UNEQUAL, r"\(4, 4\).*\(2, 2\)"),
        (NO_OBJECT, r"\(4, 4\).*\(0, 0\)"),
        (MOTION_ALONE, r"\(0, 0\)"),
    ):
        with pytest.raises(
            ConfigError, match=rf"merged_scene_object = True: needs equal grids.*{named}.*set it to false"
        ):
            build(grids, merged_scene_object=True, **wiring)


def test_nothing_is_made_for_an_absent_component():
    for settings in ({"copy_bias": True}, SINGLE_DEVIATIONS):
        names = [
            [name for name in build(grids, **settings).state_dict() if "object_positions" in name or "copy.1" in name]
            for grids in (UNEQUAL, NO_OBJECT)
        ]
        assert names[0]
        assert names[1] == []


def test_copying_starts_with_half_of_the_probability_and_masks_are_not_copied():
    logits, no_bias = torch.zeros(3, 8), torch.zeros(3, 1)
    out = towards(logits, torch.tensor([2, 7, 8]), no_bias).softmax(dim=-1)
    assert out[0, 2].item() == pytest.approx(8 / 15)  # 8 against seven ones
    assert out[1, 7].item() == pytest.approx(8 / 15)
    torch.testing.assert_close(out[2], torch.full((8,), 1 / 8))
    more = towards(logits, torch.tensor([2, 7, 8]), no_bias + math.log(7 / 8)).softmax(dim=-1)
    assert more[0, 2].item() == pytest.approx(0.5)
