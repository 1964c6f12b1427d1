"""What a mirror has: a JSON line an object that has arrived."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path, PurePosixPath

from moso.adapters.s3 import S3Object

Entry = dict[str, object]
"""Of an object that has arrived: path, key, bytes, etag, mtime_ns of its file, and what it was checked by."""


def entries_of(path: Path) -> dict[str, Entry]:
    """Path in the folder -> its entry, of a journal that nobody need hold; {} where there is none."""
    entries: dict[str, Entry] = {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # the last line of a killed process may be half
            entry = json.loads(line)
            entries[entry["path"]] = entry
    return entries


class Journal:
    """What has arrived, a JSON line an object; appended to as objects arrive, so that a kill costs none of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Journal:
        self.entries = entries_of(self.path)
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        temporary.write_text("".join(f"{json.dumps(entry)}\n" for entry in self.entries.values()))
        os.replace(temporary, self.path)
        self._file = self.path.open("a")
        return self

    def __exit__(self, *rest: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def has(self, path: PurePosixPath, item: S3Object, folder: Path) -> bool:
        """Whether this version of the object is there, and nobody wrote to its file since."""
        entry = self.entries.get(str(path))
        if entry is None or (entry.get("bytes"), entry.get("etag")) != (item.bytes, item.etag):
            return False
        try:
            found = (folder / path).stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (item.bytes, entry.get("mtime_ns"))

    def add(self, path: PurePosixPath, item: S3Object, file: Path, checked: str) -> None:
        """The object has arrived as `file`."""
        entry = {"path": str(path), "bytes": item.bytes, "etag": item.etag, "checked": checked}
        entry |= {"key": item.key, "mtime_ns": file.stat().st_mtime_ns}
        with self._lock:
            self.entries[str(path)] = entry
            self._file.write(f"{json.dumps(entry)}\n")
            self._file.flush()
