"""`make bench-data` runs, at sizes that take seconds, and its JSON has the keys that docs/performance.md explains.

No figure is looked at: a machine under tests is no machine to measure on.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """The JSON, what was printed, and the folder it worked in."""
    folder = tmp_path_factory.mktemp("bench")
    work = folder / "work"
    work.mkdir()
    command = [sys.executable, "-m", "bench.data", "--small", "--output", str(folder / "build" / "bench-data.json")]
    done = subprocess.run(
        [*command, "--work", str(work)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "build" / "bench-data.json").read_text()), done.stdout, work


def test_every_key_is_documented_and_every_documented_key_is_there(finished: Any, documented: Any) -> None:
    found, _, _ = finished
    rows = documented("bench-data.json")
    assert set(rows) == set(found)
    for key, inner in (
        ("machine", set(found["machine"])),
        ("clips", set(found["clips"][0])),
        ("steps", set(found["steps"][0])),
        ("growth", set(found["growth"]["ingest"])),
    ):
        assert rows[key] == inner, key


def test_each_size_has_clips_by_three_ways_and_ratios_of_them(finished: Any) -> None:
    found, _, _ = finished
    assert [row["pixels"] for row in found["clips"]] == [16, 32]
    for row in found["clips"]:
        assert row["set_clips"] == 2 * (20 - 16 + 1)
        assert min(row["moso"], row["bare"], row["mp4"]) > 0
        assert row["of_bare"] == pytest.approx(row["moso"] / row["bare"])
        assert row["over_mp4"] == pytest.approx(row["moso"] / row["mp4"])


def test_both_steps_worked_through_every_frame_of_each_size(finished: Any) -> None:
    found, _, _ = finished
    seen = [(row["step"], row["times"], row["frames"]) for row in found["steps"]]
    assert seen == [
        ("ingest", 1, 8), ("preprocess", 1, 8), ("ingest", 2, 16), ("preprocess", 2, 16), ("ingest", 4, 32),
        ("preprocess", 4, 32),
    ]  # fmt: skip
    for row in found["steps"]:
        assert 0 < row["peak_private_mib"] < row["peak_mib"]
        assert row["frames_per_s"] == pytest.approx(row["frames"] / row["seconds"])
    assert set(found["growth"]) == {"ingest", "preprocess"}


def test_the_table_shows_it_and_nothing_is_left_behind(finished: Any) -> None:
    found, printed, work = finished
    assert f"{found['clips'][0]['of_bare']:.0%}" in printed
    assert "ingest" in printed
    assert "45% of a bare memory map" in printed
    assert list(work.iterdir()) == []
    assert ("WARNING: the machine was busy" in printed) == found["busy"]
