"""What a process takes beside its tensors, against what the system says of one that only imports."""

import subprocess
import sys

import pytest
import torch

from moso.errors import MosoError
from moso.planning.memory import stage_memory
from moso.planning.process import process_bytes
from moso.planning.stages import Experiment

TINY = Experiment.of_preset("sim_push/tiny")


def test_a_process_that_trains_takes_more_than_one_that_imports_what_training_needs() -> None:
    code = (
        "import torch, pandas, moso.planning.process; from moso.planning import machine; print(machine.peak_resident())"
    )
    imported = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert imported < process_bytes("vqvae", False) < 2 * imported


def test_the_peak_is_no_less_than_what_was_just_written_to() -> None:
    # a process of its own: what other tests had taken, and given back, is part of this one's peak
    code = """from moso.planning.machine import peak_resident
before = peak_resident()
block = bytearray(before)
block[::4096] = b"x" * len(block[::4096])
print(before, peak_resident())"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, after = (int(number) for number in told.split())
    assert 1.2 * before < after < 2.5 * before


def test_a_plan_holds_the_process_that_was_measured() -> None:
    assert stage_memory(TINY, "vqvae", torch.device("cpu")).process == process_bytes("vqvae", False)


def test_a_small_training_that_does_not_run_is_an_error_and_no_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(MosoError, match="shows what a process takes ended with 1"):
        process_bytes.__wrapped__("vqvae", False)
