"""Keys of objects -> paths in a folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from moso.adapters.s3 import S3Address, S3Object
from moso.datasets.inside import folded, inside
from moso.errors import DataError


def plan(
    address: S3Address, items: list[S3Object], fold: bool
) -> tuple[dict[str, PurePosixPath], list[tuple[str, str]]]:
    """Where each object goes, and the objects that go nowhere, with the reason.

    Args:
        fold: names that differ in case alone are one file here.

    Returns:
        key -> path in the folder, and (key, reason).
    """
    places: dict[str, PurePosixPath] = {}
    refused: list[tuple[str, str]] = []
    files: dict[str, str] = {}
    folders: dict[str, str] = {}

    def name(path: PurePosixPath) -> str:
        return folded(path) if fold else str(path)

    for item in items:
        try:
            path = inside(relative_key(address, item.key))
        except DataError as error:
            refused.append((item.key, str(error)))
            continue
        above = [name(parent) for parent in path.parents if parent.parts]
        other = files.get(name(path)) or folders.get(name(path))
        other = other or next((files[parent] for parent in above if parent in files), None)
        if other is not None:
            refused.append((item.key, f"would be the same file as {other!r}, or lie inside it"))
            continue
        files[name(path)] = item.key
        folders.update(dict.fromkeys(above, item.key))
        places[item.key] = path
    return places, refused


def relative_key(address: S3Address, key: str) -> str:
    """A key below the prefix; the name of the object whose key is the prefix itself."""
    relative = key[len(address.prefix) + 1 :] if address.prefix else key
    return relative or key.rpartition("/")[2]


def folds_case(folder: Path) -> bool:
    """Whether the file system takes names that differ in case alone for one."""
    probe = folder / ".Case.tmp"
    probe.touch()
    try:
        return (folder / ".case.tmp").exists()
    finally:
        probe.unlink()
