"""Checkpoints that lie in work folders: found, hashed again, and named with the training that they belong to.

A training keeps them until its output is whole, and removes them with its work folder then: of a finished model there
are none, and its output folder holds the weights. Reading the record here takes no tensors into memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moso.config import to_dict
from moso.errors import FormatError
from moso.lineage import Link
from moso.provenance import digest_file, digest_json, read_provenance

TRAINED = ("vqvae", "transformer")
"""Kinds of output that come from a training."""
PLACES = ("", "step_*/", "checkpoints/step_*/", "*/checkpoints/step_*/", "*/*/checkpoints/step_*/")
"""Of checkpoints, from a checkpoint itself up to the folder of all steps' work."""
GONE = "no checkpoint of its training is kept: they go once the output is whole"


@dataclass(frozen=True)
class KeptCheckpoint:
    """One checkpoint of a training.

    Attributes:
        folder: where it lies.
        step: optimizer steps done.
        digest: sha256 of its record, which holds the sha256 of every file.
        record: content of state.json but for that digest.
    """

    folder: Path
    step: int
    digest: str
    record: Mapping[str, Any]

    @property
    def training(self) -> Mapping[str, Any]:
        """The `run_identity` of the training: step, config, inputs (name -> digest), code, step_code."""
        found: Mapping[str, Any] = self.record["state"]["identity"]["run"]
        return found

    @property
    def inputs(self) -> dict[str, str]:
        """name -> digest of each input of the training."""
        return {str(name): str(value) for name, value in self.training.get("inputs", {}).items()}

    @property
    def run_id(self) -> str:
        """Of the tracker's run; "" where none was recorded."""
        return str(self.record["state"].get("run_id") or "")

    def fault(self) -> str:
        """What is wrong with its files, each hashed; "" where all are as they were written."""
        if digest_json(self.record) != self.digest:
            return "state.json is not as it was written"
        for group, digest in self.record["files"].items():
            file = self.folder / f"{group}.safetensors"
            if not file.is_file():
                return f"{file.name} is missing"
            if digest_file(file) != digest:
                return f"{file.name} is not as it was written"
        return ""

    def link(self, needed_by: str) -> Link:
        """It as a link of a chain, its files hashed."""
        fault = self.fault()
        title = f"step {self.step} of {self.training.get('step')}"
        note = f"{title}: {fault}" if fault else f"{title}, every file as it was written"
        return Link("checkpoint", self.digest, needed_by, "damaged" if fault else "verified", self.folder, note)


def kept_checkpoints(work: Path) -> list[KeptCheckpoint]:
    """The checkpoints at or below `work`: one, a run's work folder, a step's, or that of all steps; newest last.

    What was still being written is none, nor is what says no training that it belongs to.
    """
    # Not rglob: whole data sets lie unpacked beside work folders.
    paths = [path for place in PLACES for path in sorted(work.glob(f"{place}state.json"))]
    found = []
    for path in paths:
        try:
            record = json.loads(path.read_bytes())
            digest = record.pop("sha256")
            checkpoint = KeptCheckpoint(path.parent, int(record["step"]), str(digest), record)
            if isinstance(checkpoint.training, Mapping) and isinstance(record["files"], Mapping):
                found.append(checkpoint)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def from_work(reference: Path) -> tuple[dict[str, str], list[Link]] | None:
    """Claims and link of the newest checkpoint at or below `reference`; None where it holds none.

    Raises:
        FormatError: checkpoints of several trainings.
    """
    found = kept_checkpoints(reference)
    if not found:
        return None
    if len({digest_json(checkpoint.training) for checkpoint in found}) > 1:
        places = ", ".join(dict.fromkeys(str(checkpoint.folder.parent) for checkpoint in found))
        raise FormatError(f"{reference}: checkpoints of several trainings; name one of {places}")
    newest = max(found, key=lambda checkpoint: checkpoint.step)
    return newest.inputs, [newest.link("asked for")]


def of_unfinished(run_id: str, work: Path) -> Link:
    """What is left of a run that ended before its output was whole: its newest checkpoint below `work`."""
    found = [checkpoint for checkpoint in kept_checkpoints(work) if checkpoint.run_id == run_id]
    address = f"runs:/{run_id}"
    if found:
        return max(found, key=lambda checkpoint: checkpoint.step).link(address)
    note = f"the run ended without an output, and no checkpoint of it lies in {work}"
    return Link("checkpoint", "", address, "missing", None, note)


def with_checkpoints(chain: Sequence[Link], work: Path) -> Iterator[Link]:
    """The chain with the checkpoints of its trainings that still lie below `work`, each after what was trained.

    A checkpoint belongs to an output where step, inputs, settings and code are the same. Where none is kept, the
    output's note says so: nothing is missing then.
    """
    kept = kept_checkpoints(work)
    for link in chain:
        if link.what not in TRAINED or link.state != "verified" or link.folder is None:
            yield link
            continue
        # A model's folder is found by its parts, and both have their own provenance.
        record = read_provenance(link.folder)
        ours = [checkpoint for checkpoint in kept if _is_of(checkpoint, record)]
        yield link if ours else replace(link, note=f"{link.note}; {GONE}")
        for checkpoint in ours:
            yield checkpoint.link(link.what)


def _is_of(checkpoint: KeptCheckpoint, record: Mapping[str, Any]) -> bool:
    training = checkpoint.training
    pairs = (("step", "step"), ("inputs", "inputs"), ("config", "config"), ("code", "code_digest"))
    return all(to_dict(training.get(theirs)) == to_dict(record.get(ours)) for theirs, ours in pairs)
