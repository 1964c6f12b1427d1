"""One object on its way into a folder: what has come of it, whose it is, and whether it is right."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from moso.adapters.s3 import CHECKSUMS, Checks, S3Object
from moso.adapters.s3_errors import Damaged
from moso.adapters.s3_pace import BLOCK
from moso.provenance import write_json


class Partial:
    """One object on its way: the bytes that have come, and beside them whose they are."""

    def __init__(self, folder: Path, item: S3Object) -> None:
        self.item = item
        self.file = folder / hashlib.sha256(item.key.encode()).hexdigest()[:32]
        self._about = self.file.with_suffix(".json")

    def begin(self) -> tuple[int, Checks]:
        """How many bytes of this version are there, and what they can be checked by; others' are discarded."""
        try:
            about = json.loads(self._about.read_text())
            if (about["etag"], about["bytes"]) == (self.item.etag, self.item.bytes):
                have = self.file.stat().st_size
                if have <= self.item.bytes:
                    return have, Checks(**about["checks"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.discard()
        return 0, Checks()

    def belongs(self, checks: Checks) -> None:
        """Note whose bytes are about to be written."""
        write_json(self._about, {"etag": self.item.etag, "bytes": self.item.bytes, "checks": asdict(checks)})

    def discard(self) -> None:
        """Begin anew."""
        self.file.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        """The whole, checked bytes get their own name, and the object's time (so that another mirror has the same)."""
        os.utime(self.file, (self.item.modified, self.item.modified))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.file, target)
        self._about.unlink(missing_ok=True)


def verify(file: Path, item: S3Object, checks: Checks) -> str:
    """Compare a file with the object's size and with the best of its checksums.

    Returns:
        What it was checked by: a name of `CHECKSUMS`, "MD5", or "size" where the object has nothing better.

    Raises:
        Damaged: it is not the object's content.
    """
    size = file.stat().st_size
    if size != item.bytes:
        raise Damaged(f"{item.key}: {size} bytes arrived of {item.bytes}", everywhere=False)
    for name in CHECKSUMS:
        if name in checks.checksums and (update := _algorithm(name)) is not None:
            found, expected = base64.b64encode(update(_blocks(file))).decode(), checks.checksums[name]
            break
    else:
        if not checks.plain:
            return "size"
        name, expected = "MD5", item.etag.strip('"')
        found = _hashed("md5")(_blocks(file)).hex()
    if found != expected:
        raise Damaged(f"{item.key}: {name} is {found}, the bucket says {expected}", everywhere=False)
    return name


Digest = Callable[[Iterator[bytes]], bytes]


def _algorithm(name: str) -> Digest | None:
    if name == "CRC32C":
        try:
            import google_crc32c
        except ImportError:
            return None

        def crc32c(blocks: Iterator[bytes]) -> bytes:
            state = google_crc32c.Checksum()
            for block in blocks:
                state.update(block)
            return state.digest()

        return crc32c
    return _crc32 if name == "CRC32" else _hashed(name.lower())


def _crc32(blocks: Iterator[bytes]) -> bytes:
    value = 0
    for block in blocks:
        value = zlib.crc32(block, value)
    return value.to_bytes(4, "big")


def _hashed(name: str) -> Digest:
    def digest(blocks: Iterator[bytes]) -> bytes:
        state = hashlib.new(name, usedforsecurity=False)
        for block in blocks:
            state.update(block)
        return state.digest()

    return digest


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(16 * BLOCK):
            yield block
