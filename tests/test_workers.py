"""How many cores a process may use, and what each worker takes of them."""

import os

import pytest

from moso.workers import available_cores, work_through


@pytest.fixture
def machine(monkeypatch):
    """A machine on which this process may run on eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("10000 100000\n", 1),  # a tenth of a core
        ("1600000 100000\n", 8),  # more than the machine has
        ("nonsense\n", 8),
        ("many 100000\n", 8),
    ],
)
def test_a_container_s_quota_bounds_the_cores(machine, tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota)
    assert available_cores(tmp_path / "cpu.max") == cores


def test_without_a_quota_it_is_the_affinity(machine, tmp_path):
    assert available_cores(tmp_path / "cpu.max") == 8


def test_cores_are_those_this_process_may_use():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_a_worker_computes_on_one_thread_and_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    assert set(work_through(os.getenv, ["OPENBLAS_NUM_THREADS"] * 3, 2)) == {"1"}
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    assert set(work_through(os.getenv, ["OPENBLAS_NUM_THREADS"] * 3, 2)) == {"7"}
