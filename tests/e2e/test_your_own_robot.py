"""docs/your-own-robot.md, its commands run as they stand there: from a LeRobot folder to a registered model."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from moso.provenance import read_provenance

pytestmark = pytest.mark.slow
Clone = Any  # tests/e2e/conftest.py; pytest's importlib mode has no name to import it by

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "your-own-robot.md").read_text()
COMMANDS = re.findall(r"^    (\S.*)$", PAGE, re.MULTILINE)
# The one thing that differs from the page, which says so: settings that run in a minute.
TINY = ("moso data init my_arm ", "moso data init my_arm --like sim_push/tiny ")
EPISODES, FRAMES = 24, 12
lerobot = pytest.importorskip("formats.lerobot")  # it knows nothing of moso


@pytest.fixture(scope="module")
def project(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone of the clone as a user gets it, and a home with recordings in it."""
    folder = tmp_path_factory.mktemp("tutorial")
    subprocess.run(["git", "clone", "-q", str(clone.folder), str(folder / "moso")], check=True)
    writer = lerobot
    halves = [list(range(EPISODES // 3)), list(range(EPISODES // 3, EPISODES))]
    writer.write(
        folder / "home" / "recordings" / "my_arm",
        "v3.0",
        lengths=[FRAMES] * EPISODES,
        codec="h264",
        depth=True,
        language=True,
        data_files=halves,
        video_files={writer.TOP: [list(range(5)), list(range(5, EPISODES))]},
    )
    return dataclasses.replace(
        clone,
        folder=folder / "moso",
        environment={**clone.environment, "HOME": str(folder / "home"), "MPLCONFIGDIR": str(folder / "home")},
    )


def test_the_page_has_the_commands_that_the_way_needs() -> None:
    begun = [" ".join(line.split()[:3]) for line in COMMANDS]
    for needed in ("moso data init", "dvc repro preprocess", "dvc repro", "moso predict models/my_arm"):
        assert needed in begun
    assert sum(line.startswith(TINY[0]) for line in COMMANDS) == 1


def test_the_page_s_commands_lead_to_a_registered_model(project: Clone) -> None:
    said = {}
    for line in COMMANDS:
        said[line] = project.run("bash", "-c", line.replace(*TINY)).stdout
    assert (project.folder / "data" / "specs" / "my_arm.yaml").is_file()
    counts = project.read("data/my_arm/episodes/counts.json")
    assert sum(counts["episodes"].values()) == EPISODES
    assert set(counts["episodes"]) == {"train", "validation", "test"}
    assert counts["quarantined"] == 0
    assert project.read("data/my_arm/frames/data.json")["actions"]["names"] == ["pan", "lift", "gripper"]
    assert "nothing was set aside" in said["moso data quarantine my_arm"]
    assert "all as at the last ingest" in said["moso data status my_arm"]
    assert (project.folder / "reports" / "data" / "my_arm" / "index.html").is_file()

    metrics = project.read("reports/metrics.json")
    assert metrics["prediction"]["psnr"] > 0
    assert metrics["protocol"]["splits"]["rule"] == "hash"
    promotion = project.read("reports/promotion.json")
    assert promotion["reference"] == "models:/moso-my_arm@champion"
    assert promotion["decision"]["outcome"] == "promoted"
    report = read_provenance(project.folder / "reports", format="moso.report", version=1)
    assert report["inputs"]["frames"] == project.digest("data/my_arm/frames")
    for name in ("prediction.gif", "champion.gif"):
        assert (project.folder / name).read_bytes()[:4] == b"GIF8"
