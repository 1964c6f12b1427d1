"""The README quotes docs/performance.md, which quotes `make bench`."""

import json
import re
import subprocess
import sys
from pathlib import Path

from bench.table import HEAD, whole

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text().split("## How fast")[1].split("\n## ")[0]
FIGURES = (ROOT / "docs" / "performance.md").read_text().split("### Figures of the models")[1].split("\n### ")[0]


def _tables(text: str) -> list[list[str]]:
    """Rows of the tables that have the head of `make bench`."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        if line == HEAD[0]:
            found.append([])
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and line != HEAD[1]:
            found[-1].append(line)
    return found


def test_the_readmes_rows_are_a_whole_table_of_the_docs() -> None:
    (quoted,) = _tables(README)
    assert len(quoted) > 10
    assert quoted in _tables(FIGURES)
    (commit,) = re.findall(r"commit `(\w+)`", " ".join(README.split()))
    assert f"`{commit}`" in FIGURES


def test_a_table_is_printed_again_from_its_json(tmp_path: Path) -> None:
    ours = {"seconds": 6.0, "amount": 1, "peak_mib": 30.0, "over_plain": 2.0, "over_off": 1.5, "limit": "flops"}
    ours |= {"of_roof": 0.5, "memory_over_plain": 0.75}
    variants = {"ours": ours, "off": {}, "plain": {"seconds": 12.0, "amount": 1, "peak_mib": 40.0}}
    machine = {"device": "a CPU", "cores": 2, "torch": "2", "commit": "abc"}
    found = {
        "machine": machine,
        "peaks": {"flops_per_s": 2e11, "bf16_flops_per_s": None, "bytes_per_s": 4e10},
        "rows": [{"row": "encode", "preset": "p", "batch": 1, "variants": variants}],
        "left_out": [{"row": "sampling", "preset": "kth/128"}],
        "busy": True,
        "seconds": 756.0,
    }
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(found))
    command = [sys.executable, "-m", "bench.table", str(file)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed == whole(found) + "\n"
    assert printed.startswith("a CPU, 2 cores, torch 2, abc; 200 GFLOP/s, 40.0 GB/s at best")
    assert _tables(printed) == [["| encode | p | 1 | 6 | 12 | 2.00 x | 1.50 x | 30 | 40 | 75% | flops 50% |"]]
    assert "12.6 minutes\nleft out for time: sampling kth/128; " in printed
    assert "WARNING" in printed
