"""Waiting for a server that is there and gives next to nothing: an answer has a time, a body a pace.

A connection's own timeout counts from the last byte, so that a byte now and then keeps it for ever, and no call of
botocore's can be ended from outside. So each is made in a thread of its own, which whoever waits for it can leave.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import Any, Protocol, TypeVar

from moso.adapters.s3_patience import Patience

BLOCK = 1 << 16
"""Bytes asked of a connection at a time: at most so many arrive a second time after it broke."""
AHEAD = 4
"""Blocks that may wait to be taken."""
HEARTBEAT_S = 0.2

T = TypeVar("T")


class Readable(Protocol):
    """botocore's StreamingBody, as far as it is used here."""

    def read(self, amt: int, /) -> bytes: ...
    def close(self) -> None: ...
    def set_socket_timeout(self, timeout: float, /) -> None: ...


def within(seconds: float, call: Callable[[], T], late: Callable[[T], Any] = lambda _: None) -> T:
    """What `call` gives, or raises.

    Args:
        seconds: that it may take.
        call: runs on where it takes longer, for as long as the server keeps its thread busy.
        late: what to do with its result then.

    Raises:
        TimeoutError: it took longer.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="s3 answer", daemon=True).start()
    if not wait([answer], seconds).done:
        answer.add_done_callback(lambda done: None if done.exception() else late(done.result()))
        raise TimeoutError(f"no whole answer in {seconds:g} s")
    return answer.result()


def paced(body: Readable, patience: Patience) -> Generator[bytes, None, None]:
    """The blocks of a body, and b"" every `HEARTBEAT_S` in which none came, so that the caller can stop waiting.

    The body is closed at the end, also where the caller stops early. Time that the caller takes does not count.

    Raises:
        TimeoutError: it came slower than `patience.least_bytes_per_s` for `patience.window_s`.
    """
    blocks: queue.Queue[bytes | BaseException] = queue.Queue(AHEAD)
    left = threading.Event()
    size = min(BLOCK, max(int(patience.least_bytes_per_s * patience.window_s) // 4, 1))  # fine enough to tell a pace

    def read() -> None:
        try:
            while not left.is_set():
                block = body.read(size)
                blocks.put(block)
                if not block:
                    return
        except BaseException as error:
            blocks.put(error)
        finally:
            body.close()

    threading.Thread(target=read, name="s3 body", daemon=True).start()
    ended = False
    try:
        start, got = time.monotonic(), 0
        while True:
            try:
                item = blocks.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                item = None
            ended = item == b"" or isinstance(item, BaseException)
            if isinstance(item, BaseException):
                raise item
            if ended:
                return
            got += len(item or b"")
            elapsed = time.monotonic() - start
            if elapsed >= patience.window_s:
                if got < patience.least_bytes_per_s * elapsed:
                    raise TimeoutError(f"{got} bytes in {elapsed:.0f} s")
                start, got = time.monotonic(), 0
            before = time.monotonic()
            yield item or b""
            start += time.monotonic() - before
    finally:
        left.set()
        with contextlib.suppress(queue.Empty):
            while True:  # makes room for what the reader may be about to put: then it sees that nobody waits
                blocks.get_nowait()
        if not ended:
            with contextlib.suppress(AttributeError, OSError, ValueError):  # it may have closed the body just now
                body.set_socket_timeout(0.001)  # ends a reading that a byte now and then keeps going
