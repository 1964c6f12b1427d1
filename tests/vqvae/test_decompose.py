"""Algorithm 1 and Eq. 10."""

import torch

from moso.vqvae.decompose import decompose, difference, pseudo_clip


def test_scene_plus_object_is_the_frame_exactly(video):
    frames = video(0)
    parts = decompose(frames)
    assert torch.equal(parts.scene + parts.object, frames)
    assert 0 < (parts.object != 0).float().mean() < 1


def test_a_pixel_is_object_where_its_largest_change_lies_between_the_thresholds():
    """One pixel a case: red changes by 0.5, 0.05, 0.125 (the threshold itself), 0.95; green and blue are at rest."""
    red = torch.tensor([[0.2, 0.2, 0.0, 0.0], [0.7, 0.25, 0.125, 0.95]])
    frames = torch.stack([red, torch.full_like(red, 0.3), torch.full_like(red, 0.6)], dim=1)[None, :, :, None]
    parts = decompose(frames, low=0.125, high=0.9)
    moved = parts.object[0, 1, :, 0] != 0  # (channel, pixel)
    assert moved.tolist() == [[True, False, True, False]] * 3
    assert torch.equal(parts.object[0, 1, :, 0, 0], torch.tensor([0.7, 0.3, 0.6]))


def test_motion_is_the_signed_difference_to_the_frame_before_and_zero_at_first():
    frames = torch.tensor([0.5, 0.75, 0.25]).view(1, 3, 1, 1, 1)
    assert difference(frames).flatten().tolist() == [0.0, 0.25, -0.5]


def test_the_first_frame_is_scene_alone(video):
    parts = decompose(video(1))
    assert torch.equal(parts.object[:, 0], torch.zeros_like(parts.object[:, 0]))


def test_no_part_of_a_frame_depends_on_a_later_one(video):
    frames, other = video(2), video(3)
    other[:, :4] = frames[:, :4]
    for ours, theirs in zip(decompose(frames), decompose(other), strict=True):
        assert torch.equal(ours[:, :4], theirs[:, :4])
        assert not torch.equal(ours[:, 4:], theirs[:, 4:])


def test_the_pseudo_clip_repeats_the_last_given_frame(video):
    frames = video(4)
    pseudo = pseudo_clip(frames, 2)
    assert [int(f) for f in (pseudo[0, :, None] == frames[0, None, :]).flatten(2).all(-1).int().argmax(1)] == [
        0,
        1,
        1,
        1,
        1,
        1,
    ]
    assert torch.equal(pseudo_clip(frames, 6), frames)


def test_the_pseudo_clip_takes_frames_of_any_kind():
    frames = torch.arange(5, dtype=torch.uint8).view(1, 5, 1, 1, 1)
    assert pseudo_clip(frames, 3).flatten().tolist() == [0, 1, 2, 2, 2]
