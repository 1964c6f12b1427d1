"""Puts an archive's members into a folder, and nowhere else, and no more of them than is allowed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from moso.datasets.inside import inside
from moso.errors import ConfigError, DataError, StopRequested
from moso.step import StopSignal

BLOCK = 1 << 20


class Readable(Protocol):
    """All that is asked of a stream of bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Limits:
    """How large an archive may unpack: what stops an archive bomb before the disk is full.

    Attributes:
        bytes: written in all.
        ratio: bytes written for each byte of the archive, once `free_bytes` have been written. Recordings are
            compressed before they are packed and stay near 1; deflate itself ends at 1032.
        free_bytes: what may be written whatever the ratio: a small archive of black pictures is no bomb.
        members: files and folders.
    """

    bytes: int = 500 * 10**9
    ratio: float = 200.0
    free_bytes: int = 100 * 10**6
    members: int = 5_000_000

    def __post_init__(self) -> None:
        for name in ("bytes", "ratio", "members"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "must be positive")


LIMITS = Limits()


class Writer:
    """Puts members into the folder and counts them."""

    def __init__(self, archive: Path, folder: Path, limits: Limits, stop: StopSignal | None) -> None:
        self.archive, self.folder, self.limits, self.stop = archive, folder, limits, stop
        self.bytes = self.members = 0
        self._size = max(archive.stat().st_size, 1)

    def place(self, name: str) -> Path:
        """Where a member goes.

        Raises:
            DataError: its name leads elsewhere, or there are too many.
        """
        self.members += 1
        if self.members > self.limits.members:
            raise DataError(f"{self.archive} has more than {self.limits.members} members; {self._raise_limit}")
        if self.stop:
            raise StopRequested(f"while unpacking {self.archive}")
        # "./" before every name is what `tar cf x.tar .` writes.
        while name.startswith("./"):
            name = name[2:].lstrip("/") if name.startswith(".//") else name[2:]
        if name in ("", "."):
            return self.folder
        try:
            return self.folder / inside(name.removesuffix("/"))
        except DataError as error:
            raise DataError(f"{self.archive}: {error}; nothing of it was unpacked") from None

    def write_folder(self, name: str) -> None:
        """A member that is a folder."""
        with self._once(name):
            self.place(name).mkdir(parents=True, exist_ok=True)

    def write_file(self, name: str, content: Readable, modified: float | None) -> None:
        """A member that is a file.

        Raises:
            DataError: as for `place`; there is one of this name; or the limits are reached.
        """
        path = self.place(name)
        with self._once(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("xb")
        with file:
            while block := content.read(BLOCK):
                self.count(len(block))
                file.write(block)
        if modified is not None and 0 < modified < 1 << 40:
            os.utime(path, (modified, modified))

    def count(self, amount: int) -> None:
        """`amount` more bytes are to be written."""
        self.bytes += amount
        if self.bytes > self.limits.bytes:
            raise DataError(f"{self.archive} unpacks to more than {self.limits.bytes} bytes; {self._raise_limit}")
        if self.bytes > self.limits.free_bytes and self.bytes > self.limits.ratio * self._size:
            raise DataError(
                f"{self.archive} unpacks to more than {self.limits.ratio:g} times its size, as archive bombs do; "
                "unpack it by hand if you trust it, and name the folder"
            )
        if self.stop:
            raise StopRequested(f"while unpacking {self.archive}")

    def refuse(self, name: str, what: str) -> NoReturn:
        """A member that is neither file nor folder.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self.archive}: {name!r} is {what}, which is never unpacked; nothing of it was")

    def audit(self) -> None:
        """Look through what another program has written into the folder, as if it came from the archive only now."""
        for parent, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                path = Path(parent, name)
                relative = path.relative_to(self.folder).as_posix()
                about = path.lstat()
                self.place(relative)
                if stat.S_ISLNK(about.st_mode) or (stat.S_ISREG(about.st_mode) and about.st_nlink > 1):
                    self.refuse(relative, "a link")
                elif stat.S_ISREG(about.st_mode):
                    self.count(about.st_size)
                elif not stat.S_ISDIR(about.st_mode):
                    self.refuse(relative, "a device")

    @contextlib.contextmanager
    def _once(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise DataError(f"{self.archive}: {name!r} occurs twice, or as a file and as a folder") from None

    @property
    def _raise_limit(self) -> str:
        return "if that is what it should hold, raise the limit (source.limit_gigabytes)"
