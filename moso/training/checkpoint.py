"""Checkpoints: a folder of safetensors and one JSON file, which exists whole or not at all.

    <folder>/step_00000200/
        weights.safetensors    the module's state_dict (parameters, and buffers such as an EMA codebook)
        optimizer.safetensors  moments and counters
        average.safetensors    the average of the weights, where the training keeps one
        <rival>.safetensors, <rival>_optimizer.safetensors
                               of each module that is trained against the first (a discriminator)
        state.json             step, position in the data, identity, history, the figure that it is judged by …, and
                               the sha256 of the files and of itself

Written under a temporary name, synced, renamed: a kill at any time, or a full disk, leaves the older ones untouched.
Reading checks all checksums; a damaged checkpoint is skipped with a warning and the next older one taken.
"""

from __future__ import annotations

import contextlib
import json
import math
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

from moso.disk import is_full
from moso.errors import CheckpointError
from moso.provenance import digest_file, digest_json

VERSION = 1
_PREFIX, _PARTIAL = "step_", ".partial"
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class Checkpoint:
    """What a training needs to go on as if it had never stopped.

    Attributes:
        step: optimizer steps done.
        tensors: group ("weights", "optimizer", "average" …) -> name -> tensor, on the CPU when read.
        state: JSON-able data. "judged" of it, where it is there, is {"figure", "value", "better": "highest" or
            "lowest"}: what makes the best of several.
        folder: where it was read; None where it was not.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    folder: Path | None = None


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies below `folder`."""
    return folder / f"{_PREFIX}{step:08d}"


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write `checkpoint` below `folder`, remove all but the newest `keep` and the best, and return its folder.

    Raises:
        CheckpointError: it could not be written (a full disk, say); nothing of it is left, the others are untouched.
    """
    temporary = folder / f".{folder_of(folder, checkpoint.step).name}{_PARTIAL}"
    try:
        target = _write_whole(folder, temporary, checkpoint)
        kept = list(_newest_first(folder))
        for old in set(kept[keep:]) - {best(folder)}:
            shutil.rmtree(old)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(_refusal(folder, checkpoint, error)) from error
    return target


def _write_whole(folder: Path, temporary: Path, checkpoint: Checkpoint) -> Path:
    target = folder_of(folder, checkpoint.step)
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
    return target


def clear_partial(folder: Path) -> None:
    """Remove what a killed write left below `folder`."""
    for path in folder.glob(f".{_PREFIX}*{_PARTIAL}"):
        shutil.rmtree(path, ignore_errors=True)


def _refusal(folder: Path, checkpoint: Checkpoint, error: Exception) -> str:
    """One line: what could not be written, and what to do about it."""
    kept = next((int(path.name.removeprefix(_PREFIX)) for path in _newest_first(folder)), None)
    goes_on = "from the start" if kept is None else f"from step {kept}"
    what = f"{folder}: the checkpoint of step {checkpoint.step} could not be written"
    if is_full(error):
        needed = sum(tensor.nbytes for group in checkpoint.tensors.values() for tensor in group.values())
        free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
        return (
            f"{what}: no space left: it takes {needed:,} bytes, {free:,} are free; make room there, or move the work "
            f"folder to another disk and name it by MOSO_WORK, and run it again: it goes on {goes_on}"
        )
    reason = " ".join(str(error).split())
    return f"{what} ({reason}); make the folder writable and run it again: it goes on {goes_on}"


def load(path: Path) -> Checkpoint:
    """The checkpoint in the folder `path`.

    Raises:
        CheckpointError: a file is missing or is not what was written, or another version wrote it.
    """
    try:
        record = _record(path)
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
    except (*_DAMAGED, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}: {error})") from error
    return Checkpoint(record["step"], tensors, record["state"], path)


def newest(folder: Path, *others: Path) -> Checkpoint | None:
    """The newest whole checkpoint below `folder` and of the checkpoints `others`; None where there is none.

    Damaged ones are named on stderr. Of two of one step, that below `folder` is taken.
    """
    paths = [(int(path.name.removeprefix(_PREFIX)), path) for path in _newest_first(folder)]
    for path in others:
        try:
            paths.append((int(_record(path)["step"]), path))
        except _DAMAGED as error:
            _skipped(f"{path}: damaged ({type(error).__name__}: {error})")
    for _, path in sorted(paths, key=lambda pair: pair[0], reverse=True):
        try:
            return load(path)
        except CheckpointError as error:
            _skipped(error)
    return None


def best(folder: Path) -> Path | None:
    """The best of the judged checkpoints below `folder`, the older of two as good; None where none is judged."""
    found: tuple[float, Path] | None = None
    for path in reversed(list(_newest_first(folder))):
        with contextlib.suppress(*_DAMAGED):
            judged = _record(path)["state"].get("judged") or {}
            merit = -judged["value"] if judged["better"] == "lowest" else judged["value"]
            if not math.isnan(merit) and (found is None or merit > found[0]):
                found = merit, path
    return found[1] if found else None


def _record(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((path / "state.json").read_bytes())
    return record


def _skipped(why: object) -> None:
    print(f"warning: skipped a checkpoint: {why}", file=sys.stderr, flush=True)


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
