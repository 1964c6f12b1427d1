"""Checkpoints: a folder of safetensors and one JSON file, which exists whole or not at all.

    <folder>/step_00000200/
        weights.safetensors    the module's state_dict (parameters, and buffers such as an EMA codebook)
        optimizer.safetensors  moments and counters
        average.safetensors    the average of the weights, where the training keeps one
        <rival>.safetensors, <rival>_optimizer.safetensors
                               of each module that is trained against the first (a discriminator)
        state.json             step, position in the data, identity, history …, and the sha256 of the files
                               and of itself

Written under a temporary name, synced, renamed: a kill at any time leaves the older ones untouched. Reading checks all
checksums; a damaged checkpoint is skipped with a warning and the next older one taken.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from moso.errors import CheckpointError
from moso.provenance import digest_file, digest_json

VERSION = 1
_PREFIX = "step_"


@dataclass(frozen=True)
class Checkpoint:
    """What a training needs to go on as if it had never stopped.

    Attributes:
        step: optimizer steps done.
        tensors: group ("weights", "optimizer", "average" …) -> name -> tensor, on the CPU when read.
        state: JSON-able data.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies below `folder`."""
    return folder / f"{_PREFIX}{step:08d}"


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write `checkpoint` below `folder`, remove all but the newest `keep`, and return its folder."""
    target = folder_of(folder, checkpoint.step)
    temporary = folder / f".{target.name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    files = {group: _write_tensors(temporary, group, tensors) for group, tensors in checkpoint.tensors.items()}
    record = {"version": VERSION, "step": checkpoint.step, "files": files, "state": dict(checkpoint.state)}
    record["sha256"] = digest_json(record)
    _write(temporary / "state.json", json.dumps(record).encode())
    _sync_folder(temporary)
    if target.exists():
        shutil.rmtree(target)
    os.replace(temporary, target)
    _sync_folder(folder)
    for old in list(_newest_first(folder))[keep:]:
        shutil.rmtree(old)
    return target


def load(path: Path) -> Checkpoint:
    """The checkpoint in the folder `path`.

    Raises:
        CheckpointError: a file is missing or is not what was written, or another version wrote it.
    """
    try:
        record = json.loads((path / "state.json").read_bytes())
        expected = record.pop("sha256")
        if digest_json(record) != expected:
            raise CheckpointError(f"{path / 'state.json'}: checksum differs")
        if record["version"] != VERSION:
            raise CheckpointError(f"{path}: version {record['version']}, this code reads version {VERSION}")
        tensors = {}
        for group, checksum in record["files"].items():
            file = path / f"{group}.safetensors"
            if digest_file(file) != checksum:
                raise CheckpointError(f"{file}: checksum differs")
            tensors[group] = safetensors.torch.load_file(file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}: {error})") from error
    return Checkpoint(record["step"], tensors, record["state"])


def newest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint below `folder`; None where there is none. Damaged ones are named on stderr."""
    for path in _newest_first(folder):
        try:
            return load(path)
        except CheckpointError as error:
            print(f"warning: skipped a checkpoint: {error}", file=sys.stderr, flush=True)
    return None


def _newest_first(folder: Path) -> Iterator[Path]:
    names = (path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit())
    yield from sorted(names, key=lambda path: int(path.name.removeprefix(_PREFIX)), reverse=True)


def writable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as the format takes them: on the CPU, contiguous, and no two of them in the same memory.

    Those that are so already are not copied, so that writing a training's weights and moments takes no memory; others
    are: what lies on a GPU, in the channels_last layout, or shares memory with one before it (tied weights).
    """
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        if value.untyped_storage()._cdata in seen:
            value = value.clone()
        seen.add(value.untyped_storage()._cdata)
        plain[name] = value
    return plain


def _write_tensors(folder: Path, group: str, tensors: Mapping[str, Tensor]) -> str:
    """Write <group>.safetensors; returns its sha256, of what was written and not of what was meant.

    The library hands the tensors' own memory to the file, piece by piece; nothing holds the whole of its bytes.
    """
    path = folder / f"{group}.safetensors"
    safetensors.torch.save_file(writable(tensors), path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return digest_file(path)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
