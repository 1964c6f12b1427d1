"""Whether memory that was freed is had again without the kernel."""

import platform
import subprocess
import sys

import pytest

TWICE = """
import resource, sys
import torch
from moso.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)  # 64 MiB, touched and dropped
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):  # pieces that alignment cuts off lie in the way of the first blocks, until glibc's bins are full
    faults()
print(sum(faults() for _ in range(8)))
"""
SMALLEST = 8 * (64 << 20) // (2 << 20)  # were every page a huge one of 2 MiB


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", TWICE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_a_freed_block_is_had_again_without_new_pages() -> None:
    anew = faults("leave")
    assert anew >= SMALLEST
    assert faults("keep") < anew / 10
