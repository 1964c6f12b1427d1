"""Twenty processes promote at once: one champion is left, the best one, and the log tells how it came to be."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moso.adapters.mlflow_client import connect
from moso.adapters.mlflow_decisions import DecisionLog
from moso.adapters.mlflow_registry import Registry

ROOT = Path(__file__).parents[2]
MANY = 20


@pytest.mark.slow
def test_of_20_processes_at_once_each_decision_follows_the_one_before_and_the_best_is_the_one_champion(
    retrain, reevaluate, tmp_path
):
    # Candidate i is 0.1 dB better than i - 1 on every clip: whatever the order, a better one alone is promoted.
    folders = [tmp_path / f"{i:02d}" for i in range(MANY)]
    for i, folder in enumerate(folders):
        reevaluate(retrain(folder, seed=i), 21.0 + 0.1 * i)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    connect(uri)
    line = [sys.executable, str(Path(__file__).with_name("at_once.py")), uri, *map(str, folders)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-6000:]

    records = [json.loads((folder / "promotion.json").read_text()) for folder in folders]
    registry = Registry(uri)
    log = DecisionLog(registry, "moso-toy")
    history = log.history()
    entries = history.chain.entries
    assert history.fault == ""
    assert [entry.number for entry in entries] == list(range(1, MANY + 1))
    assert sorted(entry.version for entry in entries) == list(range(1, MANY + 1))
    # Each process was told what the log says of it.
    assert {r["log"]["digest"]: r["version"] for r in records} == {e.digest: e.version for e in entries}

    psnr = {record["version"]: record["candidate"]["metrics"]["prediction.psnr"] for record in records}
    champion = None
    for entry in entries:
        better = champion is None or psnr[entry.version] > psnr[champion]
        assert (entry.before.champion, entry.action) == (champion, "promoted" if better else "kept")
        champion = entry.version if better else champion
    assert history.aliases.champion == champion == records[-1]["version"]
    client = connect(uri)
    holders = [n for n in psnr if "champion" in client.get_model_version("moso-toy", str(n)).aliases]
    assert holders == [champion]
    shutil.rmtree(tmp_path / "artifacts")  # twenty models, each with moso's code
