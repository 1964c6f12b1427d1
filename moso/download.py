"""One file from the network whose sha256 is known beforehand: other people's weights, published split lists.

It is written under a temporary name and gets its own only once its content is the expected one, so a half or a wrong
file never stands where the right one is looked for.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from moso.errors import MosoError

BLOCK = 1 << 20
TIMEOUT_S = 60

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes so far and, where the server says it, the whole size."""


class DownloadError(MosoError):
    """No address gave the expected content; each address and what it answered is named."""


def download(
    addresses: Sequence[str],
    target: Path,
    sha256: str,
    *,
    most_bytes: int | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write the expected content to `target`, replacing whatever stands there, and return `target`.

    Args:
        addresses: where it is published, tried in order.
        target: the file; its folder is made.
        sha256: of the content, hexadecimal.
        most_bytes: an answer that is longer is broken off; None sets no bound.
        on_progress: see `OnProgress`.

    Raises:
        DownloadError: no address gives that content; `target` is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    failures = []
    try:
        for address in addresses:
            try:
                found = _write(address, temporary, most_bytes, on_progress)
            except (OSError, ValueError) as error:  # urllib's own errors are OSErrors
                failures.append(f"{address}: {error}")
                continue
            if found == sha256:
                os.replace(temporary, target)
                return target
            failures.append(f"{address}: sha256 is {found}, expected {sha256}")
    finally:
        temporary.unlink(missing_ok=True)
    raise DownloadError("; ".join(failures))


def _write(address: str, target: Path, most_bytes: int | None, on_progress: OnProgress | None) -> str:
    """Write what an address serves and return its sha256."""
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response, target.open("wb") as file:
        stated = response.headers.get("Content-Length")
        whole = int(stated) if stated else None
        while block := response.read(BLOCK):
            done += len(block)
            if most_bytes is not None and done > most_bytes:
                raise ValueError(f"more than {most_bytes:,} bytes, which the expected file does not have")
            file.write(block)
            digest.update(block)
            if on_progress:
                on_progress(done, whole)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
