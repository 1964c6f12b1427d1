"""Published split lists: small text files of other people that say which recordings a paper tested on.

None of their content is part of this project: a spec names each list's address, sha256 and number of lines
(`ListSpec`). They lie in `folder()`: the one that MOSO_LISTS names, or ~/.cache/moso/lists. Nothing is downloaded
unless it is asked for (`moso data fetch-lists`). What is done where one cannot be had is the split rule's matter
(moso.datasets.splits).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from moso.download import DownloadError, OnProgress, download
from moso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from moso.datasets.spec import ListSpec  # whose module imports the readers, and those import this one

VARIABLE = "MOSO_LISTS"
"""Environment variable that names another folder."""
MOST_BYTES = 16_000_000
"""Far above any list's size (the largest named in this project has 36 kB): bounds what a wrong address can send."""


def folder() -> Path:
    """Where lists lie (it need not exist)."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "moso" / "lists"


def place_of(published: ListSpec) -> Path:
    """Where the list is looked for and fetched to, whether or not it is there.

    Raises:
        ConfigError: the file's name would lead out of the folder.
    """
    name = published.file
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise ConfigError("file", name, "must be a plain file name", "leave folders out")
    return folder() / name


def path_of(published: ListSpec) -> Path | None:
    """The verified list; None where it is not there.

    Raises:
        DataError: a file of that name is there with another content than was published.
    """
    return place_of(published) if _content(published) is not None else None


def read_list(published: ListSpec) -> list[str] | None:
    """The verified list's lines in order, blank ones left out, without surrounding space; None where it is not there.

    Raises:
        DataError: as for `path_of`.
    """
    content = _content(published)
    return None if content is None else _lines(content)


def fetch(published: ListSpec, on_progress: OnProgress | None = None) -> Path:
    """Download a list unless the verified one is there, and return its path.

    Raises:
        DataError: it cannot be had, or what is served is not what was published; the message says what else to do.
    """
    target = place_of(published)
    try:
        if path_of(published):
            return target
    except DataError:
        pass  # a damaged one is replaced
    try:
        download([published.url], target, published.sha256, most_bytes=MOST_BYTES, on_progress=on_progress)
    except DownloadError as error:
        raise DataError(
            f"could not get {published.file}: {error}; on a machine without network copy the file to {target} "
            f"({VARIABLE} names another folder)"
        ) from error
    _content(published)  # the number of lines
    return target


def _content(published: ListSpec) -> bytes | None:
    path = place_of(published)
    if not path.is_file():
        return None
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(f"{path}: {size:,} bytes, that is no split list; remove it")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != published.sha256:
        raise DataError(
            f"{path}: sha256 is {found}, that of the published list is {published.sha256}: it is damaged or another "
            f"file; `moso data fetch-lists` replaces it ({published.url})"
        )
    lines = len(_lines(content))
    if lines != published.lines:
        raise DataError(
            f"{path}: {lines} lines, the spec says {published.lines}: one of the spec's two statements about the file "
            "(sha256, lines) is wrong"
        )
    return content


def _lines(content: bytes) -> list[str]:
    return [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
