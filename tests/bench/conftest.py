"""Shared by the tests of the benchmarks: what docs/performance.md says of their JSON."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "performance.md"


@pytest.fixture
def documented():
    """Key -> the keys named in its meaning, of the table below '### build/<file>'."""

    def keys(file: str) -> dict[str, set[str]]:
        section = DOCS.read_text().split(f"### build/{file}\n")[1].split("\n## ")[0]
        rows: dict[str, set[str]] = {}
        for line in section.splitlines():
            if line.startswith("| `"):
                named, meaning = line.strip("| ").split(" | ", 1)
                rows |= {key: set(re.findall(r"`(\w+)`", meaning)) for key in re.findall(r"`(\w+)`", named)}
        return rows

    return keys
