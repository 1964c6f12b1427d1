"""One clone, one tiny run: every test below looks at it or goes on from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass
class Clone:
    """A temporary clone of this repository whose params.yaml names the preset `tiny`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; it must succeed. stdout holds stderr too."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}"
        return done

    def repro(self, *arguments: str, **environment: str) -> list[str]:
        """`dvc repro`; returns the stages that it ran (not those found unchanged or restored from the run cache)."""
        output = self.run("dvc", "repro", *arguments, **environment).stdout
        lines = [line for line in output.splitlines() if line.startswith("Running stage '")]
        return [line.split("'")[1] for line in lines]

    def set(self, key: str, value: Any) -> None:
        """Change one value of params.yaml, by its dotted name; None removes it."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        *sections, name = key.split(".")
        place = params
        for section in sections:
            place = place.setdefault(section, {})
        if value is None:
            del place[name]
        else:
            place[name] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def read(self, path: str) -> Any:
        """The content of a JSON file."""
        return json.loads((self.folder / path).read_text())

    def digest(self, path: str) -> str:
        """The digest in a folder's provenance.json."""
        digest: str = self.read(f"{path}/provenance.json")["digest"]
        return digest


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The clone, before anything has run in it."""
    folder = tmp_path_factory.mktemp("clone") / "moso"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(folder)], check=True)
    # What is changed here and not committed yet is what is to be tested.
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    # No dvc.lock: the committed one is of the real run.
    (folder / "dvc.lock").unlink(missing_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MOSO_", "MLFLOW_", "PYTEST_"))}
    environment |= {"PATH": f"{BIN}{os.pathsep}{environment['PATH']}", "DVC_NO_ANALYTICS": "1"}
    # One thread, so that runs on machines with more cores give the same bits as on this one.
    environment |= {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    clone = Clone(folder, environment)
    clone.set("preset", "tiny")
    clone.run("git", "add", "--all")
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    clone.run("git", *identity, "commit", "-q", "--allow-empty", "--no-verify", "-m", "what is tested")
    return clone


@pytest.fixture(scope="session")
def finished(clone: Clone) -> Clone:
    """The clone after one `dvc repro` of all seven stages."""
    assert clone.repro() == [
        "ingest",
        "preprocess",
        "train_vqvae",
        "extract_tokens",
        "train_transformer",
        "evaluate",
        "promote",
    ]
    return clone
