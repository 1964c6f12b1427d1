import pytest
import torch

from moso.errors import ConfigError
from moso.tokens.clip_tokens import ClipTokens, TokenGrids

GRIDS = TokenGrids(frames=3, scene=(2, 3), object=(4, 1), motion=(1, 2))


def tokens(clips):
    return ClipTokens(
        torch.arange(clips * 6).reshape(clips, 2, 3),
        torch.arange(clips * 4).reshape(clips, 4, 1),
        torch.arange(clips * 6).reshape(clips, 3, 1, 2),
    )


def test_grids_count_scene_object_and_every_frames_motion():
    assert GRIDS.tokens == 6 + 4 + 3 * 2
    # tables: a clip of BAIR 64 has 256 + 256 + 16 * 64 tokens.
    assert TokenGrids(16, (16, 16), (16, 16), (8, 8)).tokens == 1536
    assert (GRIDS.shape("object"), GRIDS.shape("motion")) == ((4, 1), (3, 1, 2))


def test_tokens_know_their_grids_and_length():
    assert tokens(2).grids == GRIDS
    assert len(tokens(2)) == 2


@pytest.mark.parametrize("rows", [slice(1, 3), [1, 2], torch.tensor([1, 2]), torch.tensor([False, True, True])])
def test_rows_select_clips_in_all_components(rows):
    whole = tokens(3)
    part = whole[rows]
    assert torch.equal(part.scene, whole.scene[1:])
    assert torch.equal(part.object, whole.object[1:])
    assert torch.equal(part.motion, whole.motion[1:])


def test_concatenate_is_the_inverse_of_slicing():
    whole = tokens(3)
    again = ClipTokens.concatenate([whole[:1], whole[1:]])
    assert torch.equal(again.motion, whole.motion)
    assert torch.equal(again.object, whole.object)


@pytest.mark.parametrize("grid", [(0, 1), (1, 0), (-1, 1)])
def test_a_grid_without_cells_is_refused(grid):
    with pytest.raises(ConfigError, match=r"object = .*or \(0, 0\): no such component"):
        TokenGrids(1, (1, 1), grid, (1, 1))


def test_a_clip_always_has_motion():
    with pytest.raises(ConfigError, match=r"motion = \(0, 0\)"):
        TokenGrids(1, (1, 1), (1, 1), (0, 0))


@pytest.mark.parametrize(
    ("scene", "object", "components", "count"),
    [
        ((2, 3), (0, 0), ("scene", "motion"), 6 + 6),
        ((0, 0), (0, 0), ("motion",), 6),
        ((2, 3), (4, 1), ("scene", "object", "motion"), 16),
    ],
)
def test_absent_components_are_empty_and_go_along(scene, object, components, count):
    grids = TokenGrids(3, scene, object, (1, 2))
    assert grids.components == components
    assert grids.tokens == count
    shapes = [grids.shape(name) for name in ("scene", "object", "motion")]
    clips = ClipTokens(*(torch.zeros(4, *shape, dtype=torch.int64) for shape in shapes))
    assert (clips.grids, len(clips)) == (grids, 4)
    for same in (clips.to("cpu"), clips[1:], ClipTokens.concatenate([clips[:1], clips])):
        assert same.grids == grids
    assert len(ClipTokens.concatenate([clips[:1], clips])) == 5
