"""The memory of a subject is its own: known sizes are found, and what libraries take for themselves is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEASURE = """
import json, sys
import torch
from torch import nn
from bench.cases import Subject
from bench.worker import Measured

MIB = 2**20
CPU = torch.device("cpu")


def trained() -> Subject:  # what is small, but calls every library for the first time
    layer = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GELU())
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, fused=True)
    x, a = torch.ones(2, 4, 20, 20), torch.ones(256, 256)
    def work() -> None:
        (layer(x).sum() + (a @ a).sum()).backward()
        optimizer.step()
    return Subject(work, 1, "clips", "")


def known() -> Subject:  # 64 MiB that stay, 96 for a moment
    kept = torch.ones(64 * MIB // 4)
    def work() -> None:
        torch.ones(96 * MIB // 4).mul_(2)
    subject = Subject(work, 1, "clips", "")
    work.kept = kept
    return subject


found = []
for make in (trained, known):
    measured = Measured(make, CPU)
    measured.count()
    measured.turn()
    found.append(measured.end())
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system cannot restart its count of memory")
def test_known_sizes_are_found_and_libraries_count_for_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    small, large = json.loads(done.stdout)
    if small["whole_process"]:
        pytest.skip("the system refuses to restart its count of memory")
    assert small["peak_mib"] < 6
    assert large["peak_mib"] == pytest.approx(64 + 96, abs=4)
