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
    torch.ones(1 << 26)  # 256 MiB, touched and dropped
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults()
print(faults())
"""
SMALLEST = (256 << 20) // (2 << 20)  # were every page a huge one of 2 MiB


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", TWICE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_a_freed_block_is_had_again_without_new_pages() -> None:
    assert faults("leave") >= SMALLEST
    assert faults("keep") < SMALLEST / 10
