"""Several stretches of one video: how many frames are decoded for them, and that they are the right ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from moso.datasets.readers.one_pass import OnePass
from moso.errors import DataError

FRAMES = np.arange(40 * 2 * 2 * 3, dtype=np.uint8).reshape(40, 2, 2, 3)


class Video:
    """A decoder that counts, as FFmpeg works: to get to a frame, all before it are decoded."""

    def __init__(self, bad: int | None = None) -> None:
        self.bad, self.decoded, self.open = bad, 0, 0

    def __call__(self, first: int) -> Iterator[np.ndarray]:
        self.open += 1
        try:
            for number, frame in enumerate(FRAMES):
                if number == self.bad:
                    raise DataError("damaged")
                self.decoded += 1
                if number >= first:
                    yield frame[None]
        finally:
            self.open -= 1


def read(one_pass: OnePass, first: int, end: int) -> np.ndarray:
    return np.concatenate(list(one_pass.chunks(first, end - first)))


def test_stretches_in_order_decode_each_frame_once() -> None:
    video = Video()
    one_pass = OnePass(video, 35)
    for first, end in ((0, 9), (9, 20), (25, 35)):
        np.testing.assert_array_equal(read(one_pass, first, end), FRAMES[first:end])
    assert video.decoded == 35
    assert video.open == 0  # behind the last one nothing is kept


def test_stretches_out_of_order_again_or_at_once_are_decoded_anew_and_are_the_same() -> None:
    video = Video()
    one_pass = OnePass(video, 40)
    for first, end in ((20, 30), (0, 5), (3, 9), (3, 9), (9, 12)):
        np.testing.assert_array_equal(read(one_pass, first, end), FRAMES[first:end])
    assert video.decoded == 30 + 5 + 9 + 9 + 3
    assert video.open == 1
    both = zip(one_pass.chunks(12, 16), one_pass.chunks(20, 16), strict=True)
    for (a, b), at in zip(both, (0, 8), strict=True):
        np.testing.assert_array_equal(a, FRAMES[12 + at : 20 + at])
        np.testing.assert_array_equal(b, FRAMES[20 + at : 28 + at])
    one_pass.close()
    assert video.open == 0


def test_damage_costs_the_stretches_that_it_costs_when_each_is_decoded_alone() -> None:
    def found(one_pass: OnePass | None, first: int, end: int) -> object:
        try:
            return read(one_pass or OnePass(Video(bad=12), 40), first, end).tolist()
        except DataError as error:
            return str(error)

    stretches = [(0, 9), (9, 12), (12, 20), (11, 14), (20, 30), (2, 5)]
    one_pass = OnePass(Video(bad=12), 40)
    together = [found(one_pass, *stretch) for stretch in stretches]
    assert together == [found(None, *stretch) for stretch in stretches]
    assert [isinstance(answer, list) for answer in together] == [True, True, False, False, False, True]


def test_a_stretch_that_is_left_closes_its_decoder() -> None:
    video = Video()
    one_pass = OnePass(video, 40)
    chunks = one_pass.chunks(0, 20)
    next(chunks)
    assert video.open == 1
    chunks.close()  # type: ignore[attr-defined]
    assert video.open == 0


def test_a_video_that_ends_within_a_stretch_gives_what_there_is() -> None:
    one_pass = OnePass(Video(), 60)
    read(one_pass, 0, 10)
    np.testing.assert_array_equal(read(one_pass, 30, 50), FRAMES[30:])
    assert not list(one_pass.chunks(45, 5))


def test_nothing_is_opened_before_a_stretch_is_read() -> None:
    def never(first: int) -> Iterator[np.ndarray]:
        pytest.fail("opened")

    OnePass(never, 40).chunks(0, 9)
