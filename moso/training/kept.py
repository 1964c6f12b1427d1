"""Checkpoints that lie in work folders: found, hashed again, and named with the training that they belong to.

A training keeps them until its output is whole, and removes them with its work folder then: of a finished model there
are none, and its output folder holds the weights. Reading the record here takes no tensors into memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moso.errors import FormatError
from moso.provenance import digest_file, digest_json


@dataclass(frozen=True)
class KeptCheckpoint:
    """One checkpoint of a training.

    Attributes:
        folder: where it lies.
        step: optimizer steps done.
        digest: sha256 of its record, which holds the sha256 of every file; "" where the record cannot be read.
        training: the `run_identity` of the training: step, config, inputs (name -> digest), code, step_code.
        run_id: of the tracker's run; "" where none was recorded.
        fault: what is wrong with its files; "" where all are as they were written.
    """

    folder: Path
    step: int
    digest: str
    training: Mapping[str, Any]
    run_id: str
    fault: str = ""

    @property
    def inputs(self) -> dict[str, str]:
        """name -> digest of each input of the training."""
        return {str(name): str(value) for name, value in self.training.get("inputs", {}).items()}


def read_kept(folder: Path) -> KeptCheckpoint:
    """The checkpoint in `folder`, each file hashed.

    Raises:
        FormatError: no state.json, or none that says which training it belongs to.
    """
    path = folder / "state.json"
    try:
        record = json.loads(path.read_bytes())
        expected = record.pop("sha256")
        state = record["state"]
        training, run_id = state["identity"]["run"], state.get("run_id") or ""
        files, step = dict(record["files"]), int(record["step"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{folder}: no checkpoint of a training ({type(error).__name__}: {error})") from None
    fault = "" if digest_json(record) == expected else f"{path.name} is not as it was written"
    for group, digest in files.items():
        file = folder / f"{group}.safetensors"
        if not file.is_file():
            fault = fault or f"{file.name} is missing"
        elif digest_file(file) != digest:
            fault = fault or f"{file.name} is not as it was written"
    return KeptCheckpoint(folder, step, expected, training, run_id, fault)


def kept_checkpoints(work: Path) -> list[Path]:
    """The folders of checkpoints below `work`: a step's work folder, a run's in it, or that of all steps.

    Newest last within a run; what was still being written is none.
    """
    found = [path.parent for path in work.rglob("checkpoints/step_*/state.json")]
    return sorted(found)
