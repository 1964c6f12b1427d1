"""Archives -> folders: zip, tar (plain, gzip, bzip2, xz, and zstandard where Python reads it) and rar.

An archive is foreign input. Nothing is written outside the folder, no link and no device is made, and what is written
is counted against limits as it comes, whatever the archive says of itself. The folder appears whole or not at all.
"""

from __future__ import annotations

import bz2
import calendar
import contextlib
import errno
import gzip
import json
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from moso.datasets import rar
from moso.datasets.archive_writer import BLOCK, LIMITS, Limits, Readable, Writer
from moso.errors import DataError, MosoError
from moso.provenance import atomic_folder, write_json
from moso.step import StopSignal

HEAD = 512
Format = Literal["zip", "tar", "gzip", "bzip2", "xz", "zstandard", "rar"]
_MAGIC: tuple[tuple[Format, int, bytes], ...] = (
    ("zip", 0, b"PK\x03\x04"),
    ("zip", 0, b"PK\x05\x06"),  # without members
    ("gzip", 0, b"\x1f\x8b"),
    ("bzip2", 0, b"BZh"),
    ("xz", 0, b"\xfd7zXZ\x00"),
    ("zstandard", 0, b"\x28\xb5\x2f\xfd"),
    ("rar", 0, b"Rar!\x1a\x07"),
    ("tar", 257, b"ustar"),
)
DAMAGE = (
    *(
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        EOFError,
        RuntimeError,
        ValueError,
    ),
    *(OverflowError, LookupError, MemoryError),
)
"""What the standard library's readers raise, led there by damaged bytes."""
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENOENT)


def format_of(archive: Path) -> Format:
    """What kind of archive a file is, by its content; its name has no say.

    Raises:
        DataError: it is missing, empty, or none that is known.
    """
    try:
        with archive.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        raise DataError(f"{archive}: no such archive") from None
    except IsADirectoryError:
        raise DataError(f"{archive} is a folder, and no archive") from None
    if not head:
        raise DataError(f"{archive} is empty")
    for name, offset, magic in _MAGIC:
        if head[offset:].startswith(magic):
            return name
    raise DataError(f"{archive} is neither zip nor tar nor rar, by its first bytes")


def unpack_once(archive: Path, folder: Path, *, limits: Limits = LIMITS, stop: StopSignal | None = None) -> bool:
    """`unpack`, unless this very archive (by size and time) lies unpacked there; returns whether it was unpacked now.

    What says so is `<folder>.unpacked.json`, beside the folder, so that readers see the archive's files alone.
    """
    if not archive.is_file():
        format_of(archive)
    marker = folder.with_name(f"{folder.name}.unpacked.json")
    about = archive.stat()
    stamp = {"archive": archive.name, "bytes": about.st_size, "mtime_ns": about.st_mtime_ns}
    with contextlib.suppress(OSError, ValueError):
        if folder.is_dir() and json.loads(marker.read_text()) == stamp:
            return False
    marker.unlink(missing_ok=True)
    unpack(archive, folder, limits=limits, stop=stop)
    write_json(marker, stamp)
    return True


def unpack(archive: Path, folder: Path, *, limits: Limits = LIMITS, stop: StopSignal | None = None) -> None:
    """Write an archive's files into `folder`, replacing what stood there; a run that was stopped begins anew.

    Files keep their time and nothing else of what the archive says of them (no owner, no permission).

    Raises:
        DataError: it is damaged, encrypted or of an unknown kind; it holds a link, a device, a name that leads out of
            the folder or one twice; or it is larger than `limits`.
        MosoError: no program on this machine reads it, or the disk is full.
        StopRequested: by `stop`.
    """
    kind = format_of(archive)
    try:
        with atomic_folder(folder) as target:
            writer = Writer(archive, target, limits, stop)
            if kind == "zip":
                _unpack_zip(archive, writer)
            elif kind == "rar":
                with rar.as_tar(archive, target, limits.bytes, stop) as stream:
                    if stream is not None:
                        _unpack_tar(stream, writer)
                    else:
                        writer.audit()
            else:
                with _decompressed(archive, kind) as stream:
                    _unpack_tar(stream, writer)
    except MosoError:
        raise
    except OSError as error:
        if error.errno in _DISK:
            raise MosoError(f"{archive}: could not be unpacked to {folder}: {error.strerror}") from error
        raise DataError(f"{archive} is damaged: {error}") from error
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{archive} is damaged or of a kind that cannot be read: {reason}") from error


def _unpack_zip(archive: Path, writer: Writer) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            mode = member.external_attr >> 16
            # zipfile turns backslashes into slashes on some systems and drops what follows a NUL: the name as stored.
            name = member.orig_filename
            if member.is_dir():
                writer.write_folder(name)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                writer.refuse(name, "a link" if stat.S_ISLNK(mode) else "a device")
            elif member.flag_bits & 1:
                raise DataError(f"{archive} is encrypted; unpack it by hand and name the folder")
            else:
                with opened.open(member) as content:
                    writer.write_file(name, content, _time_of(member))


def _time_of(member: zipfile.ZipInfo) -> float | None:
    """Seconds since 1970; None where the archive names no day (programs that know no time write zeros)."""
    try:
        return calendar.timegm((*member.date_time, 0, 1, 0))
    except ValueError:
        return None


def _unpack_tar(stream: Readable, writer: Writer) -> None:
    tail = _Tail(stream)
    # As a stream, so that no size that a header claims is sought to, and no list of all members is kept.
    with tarfile.open(fileobj=cast(IO[bytes], tail), mode="r|", errorlevel=2) as opened:
        while (member := opened.next()) is not None:
            opened.members = []  # type: ignore[attr-defined]
            if member.isdir():
                writer.write_folder(member.name)
            elif member.isreg() and not member.issparse():
                content = opened.extractfile(member)
                assert content is not None
                with content:
                    writer.write_file(member.name, content, member.mtime)
            elif member.islnk() or member.issym():
                writer.refuse(member.name, "a link")
            else:
                writer.refuse(member.name, "sparse" if member.issparse() else "a device")
    tail.drain(writer)
    if not tail.ended:
        raise DataError(f"{writer.archive} is damaged: it ends before the mark that ends every tar")


class _Tail:
    """A stream that remembers how it ended: tarfile takes an archive cut off between two members for a whole one."""

    def __init__(self, stream: Readable) -> None:
        self._stream, self._last = stream, b""

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._last = (self._last + data)[-tarfile.BLOCKSIZE :]
        return data

    def drain(self, writer: Writer) -> None:
        """Read on to the end, where compressed streams keep their checksum."""
        while block := self.read(BLOCK):
            writer.count(len(block))

    @property
    def ended(self) -> bool:
        """Whether the last block is the mark of a tar's end: zeros."""
        return self._last == bytes(tarfile.BLOCKSIZE)


@contextlib.contextmanager
def _decompressed(archive: Path, kind: Format) -> Iterator[Readable]:
    if kind == "zstandard":
        try:
            from compression import zstd  # type: ignore[import-not-found]
        except ImportError:
            raise MosoError(
                f"{archive} is compressed with zstandard, which Python reads from 3.14 on; unpack it with "
                "`tar --zstd -xf` and name the folder, or pack it with xz"
            ) from None
        opener: Callable[[Path], Any] = zstd.open
    else:
        readers: dict[str, Callable[[Path], Any]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
        opener = readers.get(kind, _open)
    with opener(archive) as opened:
        yield opened


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")
