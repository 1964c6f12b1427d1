"""Names that come from outside (members of archives, keys of objects) -> paths that cannot leave a folder."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from moso.errors import DataError

NAME_BYTES = 255
"""Longest name of a file that the common file systems take."""
_DRIVE = re.compile(r"[A-Za-z]:")


def inside(name: str) -> PurePosixPath:
    """The relative path that `name` means, with "/" between its parts.

    Strict rather than helpful: a name is taken as it stands or not at all, because two names that were repaired could
    meet in one file.

    Raises:
        DataError: it is absolute, has a drive letter, a part "..", "." or "", a backslash, a character that is no text,
            or a part longer than a file's name can be.
    """
    if name.startswith("/"):
        raise DataError(f"{name!r} is an absolute path")
    if _DRIVE.match(name):
        raise DataError(f"{name!r} begins with a drive letter")
    if "\\" in name:
        raise DataError(f"{name!r} has a backslash, which is a separator on some systems")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise DataError(f"{name!r} has a character that is no text")
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise DataError(f"{name!r} has a part {part!r}")
        if len(part.encode()) > NAME_BYTES:
            raise DataError(f"{name[:60]!r}… has a part of {len(part.encode())} bytes, at most {NAME_BYTES} are a name")
    return PurePosixPath(name)


def folded(path: PurePosixPath) -> str:
    """What two names have in common that are one file where upper and lower case, or accents, are not told apart."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()
