import math
from itertools import pairwise

import pytest
import torch

from moso.tokens.clip_tokens import TokenGrids
from moso.transformer.masking import clip_mask, mask_ratio, masked_after, training_mask


def test_cosine_is_one_at_the_start_a_half_at_two_thirds_and_zero_at_the_end():
    assert mask_ratio(0) == 1
    assert mask_ratio(2 / 3) == pytest.approx(0.5)  # cos 60 degrees
    assert mask_ratio(1) == 0


def test_linear_and_square_by_hand():
    assert [mask_ratio(r, "linear") for r in (0, 0.25, 1)] == [1, 0.75, 0]
    assert [mask_ratio(r, "square") for r in (0, 0.5, 1)] == [1, 0.75, 0]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "square"])
def test_ratio_never_rises(schedule):
    ratios = [mask_ratio(i / 100, schedule) for i in range(101)]
    assert all(after < before for before, after in pairwise(ratios))


def test_schedule_of_four_steps_over_64_tokens_by_hand():
    # floor(64 cos(22.5, 45, 67.5, 90 degrees)) = floor(59.1, 45.3, 24.5, 0)
    assert [masked_after(i, 4, 64) for i in range(4)] == [59, 45, 24, 0]
    assert [masked_after(i, 4, 64, "linear") for i in range(4)] == [48, 32, 16, 0]
    assert [masked_after(i, 4, 64, "square") for i in range(4)] == [60, 48, 28, 0]


def test_a_share_outside_the_unit_interval_is_refused():
    with pytest.raises(ValueError, match="outside"):
        mask_ratio(1.1)


def test_training_mask_hides_the_same_share_of_each_frame_and_nothing_that_is_given():
    for seed in range(20):
        r = float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
        mask = training_mask(6, (4, 5), 2, torch.Generator().manual_seed(seed))
        assert mask[:2].sum() == 0
        assert mask[2:].sum(dim=(1, 2)).tolist() == [math.ceil(20 * math.cos(math.pi * r / 2))] * 4


def test_training_mask_hides_other_places_in_each_frame_and_each_place_equally_often():
    masks = torch.stack([training_mask(3, (4, 4), 0, torch.Generator().manual_seed(s)) for s in range(2000)])
    assert not torch.equal(masks[:, 0], masks[:, 1])
    share = masks.float().mean(dim=0)
    # The mean of cos(pi r / 2) over [0, 1) is 2 / pi; rounding up adds at most 1/16, on average half of that.
    assert share.mean().item() == pytest.approx(2 / math.pi + 1 / 32, abs=0.02)
    assert (share - share.mean()).abs().max() < 0.05


def test_one_network_hides_the_same_share_of_every_grid_and_nothing_of_a_component_that_is_absent():
    grids = TokenGrids(6, (5, 4), (2, 2), (4, 5))
    for seed in range(20):
        r = float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
        share = math.cos(math.pi * r / 2)
        scene, object, motion = clip_mask(grids, 2, torch.Generator().manual_seed(seed))
        assert (scene.shape, object.shape, motion.shape) == ((5, 4), (2, 2), (6, 4, 5))
        assert (scene.sum(), object.sum()) == (math.ceil(20 * share), math.ceil(4 * share))
        assert motion.sum(dim=(1, 2)).tolist() == [0, 0, *[math.ceil(20 * share)] * 4]
    scene, object, motion = clip_mask(TokenGrids(6, (5, 4), (0, 0), (4, 5)), 0, torch.Generator().manual_seed(0))
    assert object.shape == (0, 0)
    assert motion[0].any()
