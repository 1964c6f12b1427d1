"""The two figures of growth, worked out by hand, and the pictures that everything is measured with."""

import numpy as np
import pytest

from bench.pictures import video
from bench.steps import StepFigures, memory_against_flat, time_against_linear


def figures(seconds: tuple[float, ...], private: tuple[float, ...]) -> list[StepFigures]:
    found = []
    for times, s, m in zip((1, 4, 16), seconds, private, strict=True):
        found += [StepFigures(step, times, times, times, s, times / s, 2 * m, m) for step in ("ingest", "preprocess")]
    return found


def test_a_fixed_part_and_one_that_grows_with_the_data_is_linear() -> None:
    assert time_against_linear(figures((2 + 1, 2 + 4, 2 + 16), (1, 1, 1)), "ingest") == pytest.approx(1)


def test_time_that_grows_with_the_square_of_the_data_is_not_linear() -> None:
    # a line through (1, 1) and (4, 16) has slope 5 and reaches 76 at 16; the square is 256
    assert time_against_linear(figures((1, 16, 256), (1, 1, 1)), "preprocess") == pytest.approx(256 / 76)


def test_memory_is_compared_between_the_smallest_and_the_largest() -> None:
    assert memory_against_flat(figures((1, 4, 16), (100, 400, 150)), "ingest") == pytest.approx(1.5)


def test_a_video_moves_smoothly_and_is_the_same_for_the_same_seed() -> None:
    frames = video(3, 6, 24)
    assert frames.shape == (6, 24, 24, 3)
    np.testing.assert_array_equal(frames, video(3, 6, 24))
    assert not np.array_equal(frames, video(4, 6, 24))
    neighbours = np.abs(np.diff(frames.astype(int), axis=2)).mean()
    assert neighbours < 0.25 * np.abs(frames.astype(int) - frames.mean()).mean()
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0
