"""rar archives, through a program: no library reads the format, whose description is not free.

bsdtar (libarchive) turns one into a tar stream, which is unpacked under the same rules as any other. unrar and unar
write files themselves: their list is looked through first, what they write is watched while it grows, and looked
through again at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from moso.datasets.folders import files_of
from moso.datasets.inside import inside
from moso.errors import DataError, MosoError, StopRequested
from moso.step import StopSignal

PROGRAMS = ("unrar", "unar", "bsdtar")
"""In this order: RARLAB's own reads every archive, libarchive's reader leaves out some filters of old ones."""
WATCH_S = 0.2


@contextlib.contextmanager
def as_tar(archive: Path, folder: Path, limit: int, stop: StopSignal | None) -> Iterator[IO[bytes] | None]:
    """The archive as a stream of tar, or None where a program has unpacked it into `folder`.

    Args:
        limit: bytes at which unpacking is ended.

    Raises:
        MosoError: there is none of the programs.
        DataError: the program says that the archive is damaged; it lists a link or a name that leads out of the
            folder; or it writes more than `limit`.
    """
    program = next((found for name in PROGRAMS if (found := _found(name))), None)
    if program is None:
        raise MosoError(
            f"{archive} is a rar archive, and none of {', '.join(PROGRAMS)} is here; install one (Debian and Ubuntu: "
            "apt-get install unar), or unpack it by hand and name the folder"
        )
    if Path(program).stem == "bsdtar":
        with _streamed(archive, program) as stream:
            yield stream
        return
    lister = _found("lsar") if Path(program).stem == "unar" else program
    if lister is None:
        raise MosoError(f"{archive}: unar is here without lsar, which comes with it; install both")
    _check_list(archive, lister)
    if Path(program).stem == "unar":
        command = [program, "-quiet", "-no-directory", "-no-recursion", "-force-skip", "-password", "none"]
        command += ["-output-directory", str(folder), str(archive)]
    else:
        command = [program, "x", "-inul", "-o-", "-p-", "--", str(archive), f"{folder}{os.sep}"]
    _watched(archive, command, folder, limit, stop)
    yield None


def _found(name: str) -> str | None:
    return shutil.which(name)


@contextlib.contextmanager
def _streamed(archive: Path, program: str) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as said:
        command = [program, "--format", "pax", "-cf", "-", f"@{archive.absolute()}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, stdin=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
            except BaseException as error:
                process.kill()
                process.wait()
                # A stream that broke off says less than the program does about why.
                if not isinstance(error, MosoError) and (reason := _first_line(said)):
                    raise DataError(f"{archive} is damaged: {reason}") from error
                raise
        if process.returncode:
            raise DataError(f"{archive} is damaged: {_first_line(said) or f'bsdtar ended with {process.returncode}'}")


def _check_list(archive: Path, lister: str) -> None:
    """Refuse an archive whose own list has a link or a name that leads out of the folder."""
    lsar = Path(lister).stem == "lsar"
    command = [lister, "-json", "-no-recursion", str(archive)] if lsar else [lister, "lt", "-p-", "--", str(archive)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    members = _listed_by_lsar(archive, done.stdout) if lsar else _listed_by_unrar(done.stdout)
    if done.returncode or not members:
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise DataError(f"{archive} is damaged: {lines[-1].strip() if lines else f'it cannot be listed by {lister}'}")
    for name, link in members:
        try:
            inside(name.removesuffix("/"))
        except DataError as error:
            raise DataError(f"{archive}: {error}; nothing of it was unpacked") from None
        if link:
            raise DataError(f"{archive}: {name!r} is a link, which is never unpacked; nothing of it was")


def _listed_by_lsar(archive: Path, said: bytes) -> list[tuple[str, bool]]:
    """(name, whether it is a link) of each member."""
    try:
        listed = json.loads(said)
        if problem := listed.get("lsarError"):
            raise DataError(f"{archive} is damaged: lsar ends with error {problem}")
        return [(entry["XADFileName"], bool(entry.get("XADIsLink"))) for entry in listed["lsarContents"]]
    except (ValueError, KeyError, TypeError):
        return []


def _listed_by_unrar(said: bytes) -> list[tuple[str, bool]]:
    """The same, from the "technical list": lines `Name: …`, then `Type: File` or Directory or a kind of link."""
    members: list[tuple[str, bool]] = []
    for line in said.decode(errors="replace").splitlines():
        field, _, value = line.strip().partition(": ")
        if field == "Name":
            members.append((value, False))
        elif field == "Type" and members and value not in ("File", "Directory"):
            members[-1] = (members[-1][0], True)
    return members


def _watched(archive: Path, command: Sequence[str], folder: Path, limit: int, stop: StopSignal | None) -> None:
    """Run a program that fills `folder`, and end it where that grows past `limit`."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            while process.poll() is None:
                time.sleep(WATCH_S)
                if stop:
                    raise StopRequested(f"while unpacking {archive}")
                if sum(path.lstat().st_size for path in files_of(folder)) > limit:
                    raise DataError(f"{archive} unpacks to more than {limit} bytes (source.limit_gigabytes)")
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            reason = _first_line(said) or f"{Path(command[0]).name} ended with {process.returncode}"
            raise DataError(f"{archive} is damaged: {reason}")


def _first_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[0].strip() if lines else ""
