import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moso.frames.resize import crop_frames, resize_frames


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_equal_sizes_are_returned_untouched() -> None:
    frames = noise(2, 5, 7, 3)
    assert resize_frames(frames, 5, 7) is frames


def test_a_flat_picture_stays_flat_at_any_size() -> None:
    for level in (0, 77, 255):
        for height, width in ((1, 1), (3, 5), (16, 2), (20, 30)):
            resized = resize_frames(np.full((2, 9, 11, 3), level, np.uint8), height, width)
            assert resized.shape == (2, height, width, 3)
            assert (resized == level).all()


def test_two_pixels_shrink_to_their_mean_and_channels_stay_apart() -> None:
    frames = np.zeros((1, 1, 2, 3), np.uint8)
    frames[0, 0] = [[10, 0, 255], [20, 101, 255]]
    assert resize_frames(frames, 1, 1)[0, 0, 0].tolist() == [15, 50, 255]  # 50.5 to the even neighbour


def test_a_fine_checkerboard_becomes_grey_instead_of_aliasing() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    inner = resize_frames(np.repeat(board[None, :, :, None], 3, axis=3), 16, 16)[:, 1:-1, 1:-1]
    assert abs(inner.astype(int) - 127.5).max() <= 1


@pytest.mark.parametrize(
    ("old", "new"), [((240, 320), (64, 64)), ((37, 21), (16, 20)), ((8, 8), (16, 12)), ((10, 40), (25, 7))]
)
def test_resizing_agrees_with_torchs_antialiased_bilinear(old: tuple[int, int], new: tuple[int, int]) -> None:
    frames = noise(2, *old, 3)
    ours = resize_frames(frames, *new).astype(np.float32)
    video = torch.from_numpy(frames).movedim(-1, 1).float()
    theirs = F.interpolate(video, size=new, mode="bilinear", antialias=True, align_corners=False).movedim(1, -1)
    assert np.abs(ours - theirs.numpy()).max() <= 0.51  # ours is rounded


def test_the_centre_crop_is_the_largest_square_in_the_middle() -> None:
    frames = noise(2, 4, 9, 3)
    assert np.array_equal(crop_frames(frames, "center"), frames[:, :, 2:6])
    assert np.array_equal(crop_frames(frames.swapaxes(1, 2), "center"), frames.swapaxes(1, 2)[:, 2:6])
    assert crop_frames(frames, "none") is frames
