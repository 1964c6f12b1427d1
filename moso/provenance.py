"""Identity of artefacts: content digests, provenance.json, and folders that appear whole or not at all.

The digest of a folder is a sha256 over the sorted relative paths and the sha256 of each file's bytes, provenance.json
left out. It is the same under DVC, KFP and by hand, which dvc.lock's hashes are not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from moso import __version__
from moso.config import to_dict
from moso.errors import FormatError

FILE = "provenance.json"


def digest_bytes(data: bytes) -> str:
    """Hexadecimal sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """Hexadecimal sha256 of plain data or a config, independent of the order of keys."""
    return digest_bytes(json.dumps(to_dict(value), sort_keys=True, separators=(",", ":")).encode())


def digest_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: Path) -> str:
    """Hexadecimal sha256 of a folder's content; provenance.json files at its top do not count."""
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != FILE:
            lines.append(f"{name} {digest_file(path)}\n")
    return digest_bytes("".join(lines).encode())


def package_digest(*parts: str) -> str:
    """Digest of the Python sources of packages of moso, as of package_digest("datasets", "video")."""
    root = Path(__file__).parent
    paths = [path for part in parts for path in sorted((root / part).rglob("*.py"))]
    return digest_bytes("".join(f"{p.relative_to(root).as_posix()} {digest_file(p)}\n" for p in paths).encode())


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Digest of the moso package's Python sources, the 'code' part of a run's identity.

    Not of presets, whose settings a run's resolved config holds, and not of a step's own module, which lies outside the
    package: moso.training.work.run_identity adds that.
    """
    root = Path(__file__).parent
    lines = [f"{p.relative_to(root).as_posix()} {digest_file(p)}\n" for p in sorted(root.rglob("*.py"))]
    return digest_bytes("".join(lines).encode())


@lru_cache(maxsize=1)
def git_commit() -> str:
    """The commit that this code was taken from: MOSO_GIT_COMMIT (set in images), else git's HEAD, else 'unknown'.

    '+' is appended where tracked files differ from that commit.
    """
    if commit := os.environ.get("MOSO_GIT_COMMIT"):
        return commit
    root = Path(__file__).parent.parent
    try:
        head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run(
            ["git", "-C", str(root), "diff", "--quiet", "HEAD", "--", "moso", "components"], check=False
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.returncode else "")


def finite(value: Any) -> Any:
    """Plain data with NaN and infinities as None: JSON has no word for them."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write plain data or a config as indented JSON with sorted keys, atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        json.dump(to_dict(value), file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_provenance(
    folder: Path,
    *,
    format: str,
    version: int,
    step: str,
    config: Any,
    inputs: Mapping[str, str],
    digest: str | None = None,
) -> dict[str, Any]:
    """Write `folder`/provenance.json and return its content.

    Args:
        format: name of the folder's format, for example "moso.frames".
        version: the format's version.
        step: the step that wrote it.
        config: the step's resolved config; its `seed`, where it has one, is repeated at the top.
        inputs: name -> digest of each input.
        digest: the folder's own digest where the caller has it; computed otherwise.
    """
    config = to_dict(config)
    record = {
        "format": format,
        "format_version": version,
        "step": step,
        "config": config,
        "inputs": dict(inputs),
        "package_version": __version__,
        "code_digest": code_digest(),
        "git_commit": git_commit(),
        "seed": config.get("seed") if isinstance(config, dict) else None,
        "digest": digest or digest_folder(folder),
    }
    write_json(folder / FILE, record)
    return record


def read_provenance(folder: Path, *, format: str | None = None, version: int | None = None) -> dict[str, Any]:
    """The content of `folder`/provenance.json.

    Raises:
        FormatError: it is missing, or another format or version than the caller reads.
    """
    path = folder / FILE
    if not path.exists():
        raise FormatError(f"{folder}: no {FILE}; this is no folder that a moso step has finished writing")
    record: dict[str, Any] = json.loads(path.read_text())
    if format is not None and record.get("format") != format:
        raise FormatError(f"{path}: format {record.get('format')!r}, expected {format!r}")
    if version is not None and record.get("format_version") != version:
        raise FormatError(
            f"{path}: version {record.get('format_version')!r} of {format}, this code reads version {version}; "
            f"rerun the step {record.get('step')!r}"
        )
    return record


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary sibling of `target` to write into; renamed to `target` on success, removed on failure.

    Whatever stood at `target` is replaced only once the new content is whole.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.partial")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if target.exists():
        shutil.rmtree(target)
    os.replace(temporary, target)
