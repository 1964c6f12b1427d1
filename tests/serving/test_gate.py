"""Places, workers and deadlines: real threads, held by events where a test needs them to be at work."""

import asyncio
import threading

import pytest

from moso.errors import ConfigError
from moso.serving.errors import BusyError, LateError, StoppedError
from moso.serving.gate import Gate, Stop
from moso.serving.limits import Limits

PATIENCE_S = 20.0


class Held:
    """Work that goes on until it is released, or told to stop."""

    def __init__(self) -> None:
        self.begun, self.release, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.stopped = False

    def __call__(self, stop: Stop) -> str:
        self.begun.set()
        try:
            while not self.release.wait(0.01):
                stop()
        except StoppedError:
            self.stopped = True
            raise
        finally:
            self.ended.set()
        return "done"


def in_thread(event: threading.Event):
    return asyncio.to_thread(event.wait, PATIENCE_S)


def test_one_more_than_there_are_places_is_refused_and_enters_when_one_left():
    async def scene() -> None:
        gate, work = Gate(workers=1, waiting=1, seconds=PATIENCE_S), Held()
        first = asyncio.create_task(gate.run(gate.enter(), work))
        second = asyncio.create_task(gate.run(gate.enter(), lambda stop: "after"))
        assert await in_thread(work.begun)
        with pytest.raises(BusyError, match="2 requests are inside"):
            gate.enter()
        work.release.set()
        assert [await first, await second] == ["done", "after"]
        assert gate.inside == 0
        gate.enter().leave()
        assert gate.inside == 0
        gate.close()

    asyncio.run(scene())


def test_late_work_is_answered_at_once_and_keeps_its_place_until_it_ends():
    async def scene() -> None:
        gate, release = Gate(workers=1, waiting=0, seconds=0.05), threading.Event()
        with pytest.raises(LateError, match=r"longer than 0\.05 s"):
            await gate.run(gate.enter(), lambda stop: release.wait(PATIENCE_S))  # deaf, as within one batch
        assert gate.inside == 1
        release.set()
        while gate.inside:
            await asyncio.sleep(0.01)
        gate.close()

    asyncio.run(asyncio.wait_for(scene(), PATIENCE_S))


def test_late_work_is_told_to_stop_and_what_waits_behind_it_never_begins():
    async def scene() -> None:
        gate, work, begun = Gate(workers=1, waiting=1, seconds=0.2), Held(), []
        both = await asyncio.gather(
            gate.run(gate.enter(), work), gate.run(gate.enter(), lambda stop: begun.append(1)), return_exceptions=True
        )
        assert [type(error) for error in both] == [LateError, LateError]
        assert await in_thread(work.ended)
        assert work.stopped
        assert not begun
        gate.close()

    asyncio.run(scene())


def test_work_of_a_caller_that_went_away_is_stopped():
    async def scene() -> None:
        gate, work = Gate(workers=1, waiting=0, seconds=PATIENCE_S), Held()

        async def gone() -> bool:
            return work.begun.is_set()

        with pytest.raises(StoppedError):
            await gate.run(gate.enter(), work, gone)
        assert await in_thread(work.ended)
        assert work.stopped
        gate.close()

    asyncio.run(scene())


def test_an_error_of_the_work_is_the_callers_and_frees_the_place():
    async def scene() -> None:
        gate = Gate(workers=1, waiting=0, seconds=PATIENCE_S)
        with pytest.raises(ZeroDivisionError):
            await gate.run(gate.enter(), lambda stop: 1 // 0)
        while gate.inside:
            await asyncio.sleep(0.01)
        gate.close()

    asyncio.run(asyncio.wait_for(scene(), PATIENCE_S))


@pytest.mark.parametrize("name", ["workers", "clips", "seconds"])
def test_a_limit_that_refuses_everything_is_refused(name):
    with pytest.raises(ConfigError, match=rf"limits\.{name} = 0: must be at least 1"):
        Limits(**{name: 0})
