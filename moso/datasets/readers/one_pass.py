"""Several stretches of one video, decoded in one pass where they are asked for in order.

H W pixels, n frames of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain, islice

import numpy as np
from jaxtyping import UInt8

from moso.errors import DataError
from moso.video.streaming import CHUNK, CHUNK_BYTES


class OnePass:
    """A decoder that one stretch leaves to the next.

    A stretch that does not begin behind the one before, that is read a second time, or that is read while another one
    is, is decoded anew: what comes never depends on the order, only how often a frame is decoded does.
    """

    def __init__(self, open_at: Callable[[int], Iterator[UInt8[np.ndarray, "n H W 3"]]], until: int) -> None:
        """Nothing is opened yet.

        Args:
            open_at: number of a frame, from 0 -> the frames from there on, one a chunk; it raises DataError.
            until: where the last stretch ends, from which on the decoder is not kept.
        """
        self._open_at, self._until = open_at, until
        self._decoder: Generator[np.ndarray, None, None] | None = None
        self._at = 0  # the frame that it gives next

    def chunks(self, first: int, count: int) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
        """Frames [first, first + count), a few at a time; fewer where the video ends before.

        Raises:
            DataError: as `open_at` does.
        """
        head, decoder = self._reached(first) or ((), self._one_by_one(first))
        frames, left, kept = chain(head, decoder), count, False
        try:
            while left and (frame := next(frames, None)) is not None:
                more = islice(frames, min(left, CHUNK, max(1, CHUNK_BYTES // frame.nbytes)) - 1)
                chunk = np.stack([frame, *more])
                left -= len(chunk)
                yield chunk
            if not left and first + count < self._until:
                self.close()
                self._decoder, self._at, kept = decoder, first + count, True
        finally:
            if not kept:
                decoder.close()

    def close(self) -> None:
        """Close the decoder that waits for a further stretch."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _reached(self, first: int) -> tuple[tuple[np.ndarray, ...], Generator[np.ndarray, None, None]] | None:
        """Frame `first` (none where the video has ended) and the waiting decoder behind it, where it can get there."""
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            return None
        if self._at <= first:
            try:
                return tuple(islice(decoder, first - self._at, first - self._at + 1)), decoder
            except DataError:
                pass  # what lies between two stretches is no concern of theirs; a new decoder says what is
        decoder.close()
        return None

    def _one_by_one(self, first: int) -> Generator[np.ndarray, None, None]:
        for chunk in self._open_at(first):
            yield from chunk
