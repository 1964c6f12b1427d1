"""The lock: one owner among many, an expiry, a takeover, and letting go by the owner alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moso.errors import FormatError, MosoError
from moso.retraining.lease import FolderPlace, LeaseHeld, LeaseLost, holding, rejoin, take

TAKE = """
import sys, time
from pathlib import Path
from moso.retraining.lease import FolderPlace, LeaseHeld, take
go = Path(sys.argv[2])
while not go.exists():
    time.sleep(0.001)
try:
    take(FolderPlace(Path(sys.argv[1])), 60.0)
    print("taken")
except LeaseHeld:
    print("held")
"""
HOLD = """
import sys, time
from pathlib import Path
from moso.retraining.lease import FolderPlace, holding
with holding(FolderPlace(Path(sys.argv[1])), 3600.0, lambda: None):
    print("taken", flush=True)
    time.sleep(600)
"""


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def _race(folder: Path, count: int = 6) -> list[str]:
    go = folder / "go"
    command = [sys.executable, "-c", TAKE, str(folder / "store"), str(go)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    go.touch()
    return sorted(process.communicate(timeout=120)[0].strip() for process in processes)


def test_of_six_processes_at_once_one_takes_the_lock(tmp_path):
    assert _race(tmp_path) == ["held"] * 5 + ["taken"]


def test_of_six_processes_at_once_one_takes_over_an_expired_lock(tmp_path):
    take(FolderPlace(tmp_path / "store"), 1.0, clock=Clock(0.0))
    assert _race(tmp_path) == ["held"] * 5 + ["taken"]


def test_a_held_lock_is_refused_with_its_owner_and_the_seconds_left(tmp_path):
    clock = Clock()
    take(FolderPlace(tmp_path), 60.0, owner="robot-7:12:ab", clock=clock)
    clock.now = 1045.0
    with pytest.raises(LeaseHeld, match=r"held by robot-7:12:ab, and expires in 15 s"):
        take(FolderPlace(tmp_path), 60.0, clock=clock)


def test_a_lock_expires_at_its_second_and_the_old_owner_can_neither_renew_nor_release(tmp_path):
    clock = Clock()
    old = take(FolderPlace(tmp_path), 60.0, clock=clock)
    clock.now = 1060.0
    new = take(FolderPlace(tmp_path), 60.0, clock=clock)
    for change in (old.renew, old.release):
        with pytest.raises(LeaseLost):
            change()
    new.renew()
    with pytest.raises(LeaseHeld):
        take(FolderPlace(tmp_path), 60.0, clock=clock)


def test_a_renewed_lock_outlives_its_first_expiry(tmp_path):
    clock = Clock()
    lease = take(FolderPlace(tmp_path), 60.0, clock=clock)
    clock.now = 1050.0
    lease.renew()
    clock.now = 1109.0
    with pytest.raises(LeaseHeld):
        take(FolderPlace(tmp_path), 60.0, clock=clock)


def test_a_released_lock_is_free_at_once(tmp_path):
    clock = Clock()
    take(FolderPlace(tmp_path), 60.0, clock=clock).release()
    take(FolderPlace(tmp_path), 60.0, clock=clock)


def test_a_killed_process_keeps_the_lock_until_it_expires(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "taken\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with pytest.raises(LeaseHeld):
        take(FolderPlace(tmp_path), 60.0)
    take(FolderPlace(tmp_path), 60.0, clock=lambda: time.time() + 3601)


def test_who_loses_the_lock_is_told(tmp_path):
    place, lost = FolderPlace(tmp_path), []
    with holding(place, 0.4, lambda: lost.append(True)) as lease:
        thief = take(place, 60.0, clock=lambda: time.time() + 10)
        deadline = time.monotonic() + 30
        while not lost and time.monotonic() < deadline:
            time.sleep(0.02)
    assert (lost, lease.lost) == ([True], True)
    thief.renew()  # leaving the body left the new owner's lock alone


def test_an_owner_of_several_processes_goes_on_with_the_lock_and_no_other_does(tmp_path):
    """As the pods of one run on Kubeflow: at 1060 the first expiry has passed, at 1050 it was put off to 1110."""
    clock, place = Clock(), FolderPlace(tmp_path)
    take(place, 60.0, owner="run-1", clock=clock)
    clock.now = 1050.0
    take(place, 60.0, owner="run-1", clock=clock)  # the first pod, started again
    with pytest.raises(LeaseLost, match="run-2 does not have the lock"):
        rejoin(place, 60.0, "run-2", clock=clock)
    clock.now = 1109.0
    with pytest.raises(LeaseHeld):
        take(place, 60.0, owner="run-2", clock=clock)
    rejoin(place, 60.0, "run-1", clock=clock).release()
    with pytest.raises(LeaseLost):
        rejoin(place, 60.0, "run-1", clock=clock)
    take(place, 60.0, owner="run-2", clock=clock)


def test_a_run_whose_lock_expired_goes_on_unless_another_has_taken_it(tmp_path):
    clock, place = Clock(), FolderPlace(tmp_path)
    take(place, 60.0, owner="run-1", clock=clock)
    clock.now = 1100.0
    rejoin(place, 60.0, "run-1", clock=clock)
    clock.now = 1200.0
    take(place, 60.0, owner="run-2", clock=clock)
    with pytest.raises(LeaseLost):
        rejoin(place, 60.0, "run-1", clock=clock)


def test_something_else_in_the_place_is_refused_by_its_name(tmp_path):
    place = FolderPlace(tmp_path)
    place.path.write_text("not a lock")
    with pytest.raises(FormatError, match=r"retraining\.lock\.json"):
        take(place, 60.0)


class LossyPlace(FolderPlace):
    """A folder whose answers fail on the way, for the next `lost` writes, by `error`; the writes are there."""

    def __init__(self, folder, error):
        super().__init__(folder)
        self.error, self.lost = error, 0

    def replace(self, text, version):
        written = super().replace(text, version)
        if self.lost:
            self.lost -= 1
            raise self.error
        return written


def test_a_renewal_whose_answer_was_lost_is_no_lost_lock(tmp_path):
    clock, place = Clock(), LossyPlace(tmp_path, MosoError("no usable answer"))
    lease = take(place, 60.0, clock=clock)
    place.lost, clock.now = 1, 1015.0
    with pytest.raises(MosoError, match="no usable answer"):
        lease.renew()
    clock.now = 1030.0
    lease.renew()
    clock.now = 1089.0
    with pytest.raises(LeaseHeld):
        take(place, 60.0, clock=clock)


def test_a_lock_that_expired_in_a_machine_s_sleep_is_ours_again_unless_another_has_it(tmp_path):
    clock, place = Clock(), FolderPlace(tmp_path)
    lease = take(place, 60.0, clock=clock)
    clock.now = 1100.0
    lease.renew()
    with pytest.raises(LeaseHeld):
        take(place, 60.0, clock=clock)
    clock.now = 1200.0
    take(place, 60.0, clock=clock)
    with pytest.raises(LeaseLost):
        lease.renew()


@pytest.mark.parametrize("error", [MosoError("the store is away"), OSError("the store is away")])
def test_a_lock_that_cannot_be_let_go_of_is_said_and_hides_neither_result_nor_error_of_the_body(
    tmp_path, capsys, error
):
    place = LossyPlace(tmp_path, error)
    with holding(place, 3600.0, lambda: None):
        place.lost = 1
    assert "could not be let go of (the store is away); it expires by itself" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError), holding(place, 3600.0, lambda: None):  # noqa: PT012
        place.lost = 1
        1 / 0  # noqa: B018


@pytest.mark.parametrize(("failures", "loses"), [(1, False), (1000, True)])
def test_the_renewing_thread_lives_through_one_failure_of_any_kind_and_tells_of_its_end(
    tmp_path, capsys, failures, loses
):
    place, lost = LossyPlace(tmp_path, KeyError("a bug")), []
    with holding(place, 2.0, lambda: lost.append(True)):
        place.lost = failures
        time.sleep(1.8)
        place.lost = 0
    assert bool(lost) == loses
    assert "could not be renewed (KeyError" in capsys.readouterr().err


class CarelessPlace(FolderPlace):
    """A store that takes a conditional write for any other, as some that speak S3 do."""

    def create(self, text):
        self.path.write_text(text)
        return text


def test_a_store_that_ignores_conditions_is_refused(tmp_path):
    with pytest.raises(MosoError, match="cannot hold the lock"):
        take(CarelessPlace(tmp_path), 60.0)
