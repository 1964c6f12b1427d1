"""Files on a disk: whether an error says that it is full, and a file that takes no room twice."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NUMBER = re.compile(r"os error (\d+)")
# numpy's tofile, which np.save calls, gives no number: "1000000 requested and 8176 written"
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """`target` as a hard link to `source`, or a copy where the file system has none; neither is to be written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def is_full(error: BaseException) -> bool:
    """True for a full disk, a used-up quota and the limit on a file's size, as the system or a library reports them.

    The libraries that write say it each in its own way.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    text = str(error)
    number = _NUMBER.search(text)  # safetensors, written in Rust, is no OSError
    return int(number[1]) in _FULL if number else isinstance(error, OSError) and bool(_CUT_SHORT.search(text))
