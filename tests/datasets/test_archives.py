"""Archives unpack whole, inside their folder, within limits, or not at all."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from moso.datasets import rar
from moso.datasets.archives import Limits, format_of, unpack, unpack_once
from moso.datasets.inside import inside
from moso.errors import DataError, MosoError, StopRequested
from moso.step import StopSignal

FILES = {"a.avi": b"frames " * 40, "walking/b c.avi": b"", "walking/d/ä.avi": np.random.default_rng(0).bytes(5000)}
TIME = 1_000_000_000


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def tar_of(members, compression: str = "", **options) -> bytes:
    """A tar of (TarInfo or name, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}", **options) as archive:
        for member, content in members:
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
                member.mtime = TIME
            if content is not None:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if content is not None else None)
    return buffer.getvalue()


def zip_of(members, method=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for member, content in members:
            if isinstance(member, str):
                member = zipfile.ZipInfo(member, time.gmtime(TIME)[:6])
                member.compress_type = method
            archive.writestr(member, content)
    return buffer.getvalue()


def rar_of(members) -> bytes:
    """RAR 4 with stored members, by its published layout: blocks of CRC16, type, flags, size, then their own fields."""

    def block(kind: int, flags: int, fields: bytes) -> bytes:
        rest = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest

    parts = [b"Rar!\x1a\x07\x00", block(0x73, 0, bytes(6))]
    for name, content, attributes in members:
        encoded = name.replace("/", "\\").encode()  # rar separates with backslashes
        moment = (29 << 25 | 1 << 21 | 1 << 16) & 0xFFFFFFFF  # 2009-01-01 00:00 as DOS has it
        sizes = struct.pack("<II", len(content), len(content))
        about = struct.pack("<BIIBBHI", 3, zlib.crc32(content), moment, 20, 0x30, len(encoded), attributes)
        parts += [block(0x74, 0x8000, sizes + about + encoded), content]
    return b"".join([*parts, block(0x7B, 0x4000, b"")])


PACKED = {
    "zip": lambda: zip_of(FILES.items()),
    "stored.zip": lambda: zip_of(FILES.items(), zipfile.ZIP_STORED),
    "tar": lambda: tar_of(FILES.items()),
    "tar.gz": lambda: tar_of(FILES.items(), "gz"),
    "tar.bz2": lambda: tar_of(FILES.items(), "bz2"),
    "tar.xz": lambda: tar_of(FILES.items(), "xz"),
}


@pytest.fixture(params=PACKED)
def packed(request, tmp_path) -> Path:
    path = tmp_path / f"kth.{request.param}"
    path.write_bytes(PACKED[request.param]())
    return path


def refused(archive: Path, kind=DataError, limits=None, stop=None) -> str:
    """The reason, in one line, and nothing was written anywhere."""
    folder = archive.parent / "deep" / "out"
    before = set(archive.parent.rglob("*"))
    with pytest.raises(kind) as caught:
        unpack(archive, folder, limits=limits or Limits(), stop=stop)
    assert set(archive.parent.rglob("*")) - before <= {archive.parent / "deep"}
    assert "\n" not in str(caught.value)
    assert str(archive) in str(caught.value)
    return str(caught.value)


def test_every_format_gives_the_files_back_with_their_times(packed, tmp_path):
    unpack(packed, tmp_path / "out")
    assert files_of(tmp_path / "out") == FILES
    assert {path.stat().st_mtime for path in (tmp_path / "out").rglob("*.avi")} == {TIME}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_content_decides_the_format_and_not_the_name(tmp_path):
    for name, pack in PACKED.items():
        path = tmp_path / "data.bin"
        path.write_bytes(pack())
        expected = {"gz": "gzip", "bz2": "bzip2"}.get(name.split(".")[-1], name.split(".")[-1])
        assert format_of(path) == expected


def test_a_tar_of_a_folder_itself_unpacks(tmp_path):
    root = tarfile.TarInfo("./")
    root.type = tarfile.DIRTYPE
    (tmp_path / "x.tar").write_bytes(tar_of([(root, None), ("./a", b"1"), ("./b/c", b"2")]))
    unpack(tmp_path / "x.tar", tmp_path / "out")
    assert files_of(tmp_path / "out") == {"a": b"1", "b/c": b"2"}


def test_folders_without_files_are_made_and_permissions_are_not_taken_over(tmp_path):
    folder, tool = tarfile.TarInfo("empty"), tarfile.TarInfo("tool")
    folder.type, folder.mode, tool.mode = tarfile.DIRTYPE, 0o000, 0o4777
    (tmp_path / "x.tar").write_bytes(tar_of([(folder, None), (tool, b"#!")]))
    unpack(tmp_path / "x.tar", tmp_path / "out")
    assert (tmp_path / "out" / "empty").is_dir()
    assert (tmp_path / "out" / "tool").stat().st_mode & 0o7111 == 0


def test_a_zip_member_without_a_date_unpacks_and_others_keep_theirs(tmp_path):
    data = bytearray(zip_of([("a", b"1"), ("b", b"2")]))
    # time and date of "a" in its local header and in the directory: zeros, as programs that know no time write them
    for magic, at in ((b"PK\x03\x04", 10), (b"PK\x01\x02", 12)):
        start = data.index(magic) + at
        data[start : start + 4] = bytes(4)
    (tmp_path / "x.zip").write_bytes(data)
    before = time.time() - 2
    unpack(tmp_path / "x.zip", tmp_path / "out")
    assert files_of(tmp_path / "out") == {"a": b"1", "b": b"2"}
    assert (tmp_path / "out" / "b").stat().st_mtime == TIME
    assert (tmp_path / "out" / "a").stat().st_mtime >= before


OUTSIDE = [
    "../evil",
    "a/../../evil",
    "/evil",
    "//evil",
    "C:/evil",
    "C:evil",
    "a\\..\\..\\evil",
    "a/./b",
    "a//b",
    "bell\a",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("pack", [zip_of, tar_of], ids=["zip", "tar"])
def test_a_name_that_leads_out_of_the_folder_refuses_the_whole_archive(tmp_path, pack, name):
    archive = tmp_path / "work" / "x"
    archive.parent.mkdir()
    archive.write_bytes(pack([("good", b"good"), (name, b"evil")]))
    assert "nothing of it was unpacked" in refused(archive)
    assert not (tmp_path / "evil").exists()
    assert not Path("/evil").exists()


def test_inside_takes_ordinary_names_as_they_are():
    for name in ("a", "a/b.avi", "..a/b..", "ä b/[1].mp4", "...", "c:d/e"[2:]):
        assert str(inside(name)) == name
    for name in ("", "a/", "a/" + "x" * 256, "\ud800"):
        with pytest.raises(DataError):
            inside(name)


KINDS = {
    "symlink": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
}


@pytest.mark.parametrize("kind", KINDS)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    member = tarfile.TarInfo("innocent")
    member.type, member.linkname = KINDS[kind], "../../etc"
    (tmp_path / "x.tar").write_bytes(tar_of([("good", b"good"), (member, None), ("innocent/passwd", b"evil")]))
    assert "never unpacked" in refused(tmp_path / "x.tar")


def test_a_symlink_in_a_zip_is_refused(tmp_path):
    member = zipfile.ZipInfo("innocent")
    member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    (tmp_path / "x.zip").write_bytes(zip_of([(member, "/etc"), ("innocent/passwd", b"evil")]))
    assert "is a link" in refused(tmp_path / "x.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", [zip_of, tar_of], ids=["zip", "tar"])
@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_a_name_twice_is_refused(tmp_path, pack, names):
    (tmp_path / "x").write_bytes(pack([(name, b"") for name in names]))
    assert "occurs twice" in refused(tmp_path / "x")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_damaged(packed, share):
    data = packed.read_bytes()
    if packed.suffix == ".tar":
        data = data.rstrip(b"\0")  # what fills the last record is no loss
    packed.write_bytes(data[: int(share * len(data))])
    assert "damaged" in refused(packed) or "empty" in refused(packed)


def test_a_tar_cut_off_between_two_members_is_damaged(tmp_path):
    data = tar_of([("a", b"x" * 512), ("b", b"y" * 512)])
    (tmp_path / "x.tar").write_bytes(data[: 2 * 512])
    assert "damaged" in refused(tmp_path / "x.tar")
    for compress, name in ((gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz")):
        (tmp_path / name).write_bytes(compress(data[: 2 * 512]))
        assert "damaged" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["zip", "stored.zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_flipped_bit_anywhere_is_noticed(tmp_path, name):
    """In whatever it lands: headers, data, checksums, the directory. What it leaves unharmed is the same files."""
    data, archive = PACKED[name](), tmp_path / "x"
    for at in np.linspace(0, len(data) - 1, 40).astype(int):
        broken = bytearray(data)
        broken[at] ^= 0x10
        archive.write_bytes(broken)
        try:
            unpack(archive, tmp_path / "out")
        except DataError:
            continue
        found = files_of(tmp_path / "out")
        # A name has no checksum in a zip; the content of every file has.
        assert sorted(found.values()) == sorted(FILES.values()), at


def test_what_is_no_archive_is_named_as_such(tmp_path):
    (tmp_path / "empty.zip").touch()
    assert "is empty" in refused(tmp_path / "empty.zip")
    (tmp_path / "text.zip").write_text("<html>Not found</html>")
    assert "neither zip nor tar nor rar" in refused(tmp_path / "text.zip")
    (tmp_path / "one.gz").write_bytes(gzip.compress(b"no tar at all"))
    assert "damaged" in refused(tmp_path / "one.gz")
    with pytest.raises(DataError, match="no such archive"):
        unpack(tmp_path / "missing.zip", tmp_path / "out")


def test_an_encrypted_zip_is_named_as_such(tmp_path):
    data = bytearray(zip_of([("a", b"secret")]))
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    assert "encrypted" in refused(tmp_path / "x.zip")


BOMBS = {"zip": lambda: zip_of([("a", bytes(10**6))]), "tar.gz": lambda: tar_of([("a", bytes(10**6))], "gz")}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_stopped_by_each_limit(tmp_path, name):
    archive = tmp_path / "x"
    archive.write_bytes(BOMBS[name]())
    assert "limit_gigabytes" in refused(archive, limits=Limits(bytes=10**5))
    assert "times its size" in refused(archive, limits=Limits(free_bytes=10**5, ratio=100))
    unpack(archive, tmp_path / "out", limits=Limits(ratio=100))  # below free_bytes
    unpack(archive, tmp_path / "out", limits=Limits(free_bytes=10**5, ratio=2000))


def test_what_a_header_says_of_the_size_does_not_count(tmp_path):
    """A zip whose directory claims one byte for a member of a million."""
    data = bytearray(zip_of([("a", bytes(10**6))]))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 1)
    struct.pack_into("<I", data, data.index(b"PK\x03\x04") + 22, 1)
    (tmp_path / "x.zip").write_bytes(data)
    assert "damaged" in refused(tmp_path / "x.zip", limits=Limits(bytes=10**5))


def test_a_compressed_tail_behind_the_tar_counts_too(tmp_path):
    (tmp_path / "x.tgz").write_bytes(gzip.compress(tar_of([("a", b"1")]) + bytes(10**6)))
    assert "limit_gigabytes" in refused(tmp_path / "x.tgz", limits=Limits(bytes=10**5))


@pytest.mark.parametrize("pack", [zip_of, tar_of], ids=["zip", "tar"])
def test_too_many_members_are_refused(tmp_path, pack):
    (tmp_path / "x").write_bytes(pack([(f"{i}", b"") for i in range(20)]))
    assert "more than 19 members" in refused(tmp_path / "x", limits=Limits(members=19))
    unpack(tmp_path / "x", tmp_path / "out", limits=Limits(members=20))


def test_a_stopped_unpacking_leaves_nothing_and_begins_anew(packed, tmp_path):
    stop = StopSignal()
    stop.set()
    refused(packed, StopRequested, stop=stop)
    unpack(packed, tmp_path / "out")
    assert files_of(tmp_path / "out") == FILES


def test_a_killed_unpacking_s_leftovers_do_not_get_into_the_next(packed, tmp_path):
    leftover = tmp_path / ".out.partial"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"half")
    unpack(packed, tmp_path / "out")
    assert files_of(tmp_path / "out") == FILES


def test_an_archive_is_unpacked_once_and_again_when_it_is_another(packed, tmp_path):
    out = tmp_path / "out"
    assert unpack_once(packed, out)
    (out / "a.avi").write_bytes(b"touched")
    assert not unpack_once(packed, out)
    assert (out / "a.avi").read_bytes() == b"touched"
    os.utime(packed, (1, 1))
    assert unpack_once(packed, out)
    assert files_of(out) == FILES
    shutil.rmtree(out)
    assert unpack_once(packed, out)
    packed.unlink()
    with pytest.raises(DataError, match="no such archive"):
        unpack_once(packed, out)


RARS = [name for name in rar.PROGRAMS if shutil.which(name)]


@pytest.fixture(params=RARS or [pytest.param("none", marks=pytest.mark.skip("no program here reads rar"))])
def program(request, monkeypatch) -> str:
    monkeypatch.setattr(rar, "PROGRAMS", (request.param,))
    return request.param


def test_a_rar_unpacks(tmp_path, program):
    files = {"UCF-101/a.avi": b"frames " * 1000, "UCF-101/b/c.avi": b"x"}
    (tmp_path / "x.rar").write_bytes(rar_of([(name, data, 0o100644) for name, data in files.items()]))
    unpack(tmp_path / "x.rar", tmp_path / "out")
    assert files_of(tmp_path / "out") == files


def test_a_rar_that_would_leave_its_folder_has_links_or_is_damaged_is_refused(tmp_path, program):
    archive = tmp_path / "work" / "x.rar"
    archive.parent.mkdir()
    archive.write_bytes(rar_of([("good", b"1", 0o100644), ("../evil", b"2", 0o100644)]))
    refused(archive)
    assert not (tmp_path / "evil").exists()
    archive.write_bytes(rar_of([("innocent", b"/etc", 0o120777), ("innocent/x", b"2", 0o100644)]))
    refused(archive)
    archive.write_bytes(rar_of([("a", b"1" * 1000, 0o100644)])[:500])
    refused(archive)
    archive.write_bytes(rar_of([("a", bytes(1000), 0o100644), ("b", bytes(1000), 0o100644)]))
    assert "1500" in refused(archive, limits=Limits(bytes=1500))


UNRAR_LIST = b"""
UNRAR 6.21 freeware      Copyright (c) 1993-2023 Alexander Roshal

Archive: x.rar
Details: RAR 5

        Name: UCF-101/a: b.avi
        Type: File
        Size: 2
 Packed size: 2
       CRC32: 1F2EC7C8

        Name: innocent
        Type: Unix symbolic link
      Target: /etc

        Name: UCF-101
        Type: Directory
"""


def test_unrar_s_technical_list_is_understood():
    assert rar._listed_by_unrar(UNRAR_LIST) == [("UCF-101/a: b.avi", False), ("innocent", True), ("UCF-101", False)]


def test_without_a_program_a_rar_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (tmp_path / "x.rar").write_bytes(rar_of([("a", b"1", 0o100644)]))
    assert "install" in refused(tmp_path / "x.rar", MosoError)


def test_zstandard_says_what_to_do_where_python_cannot_read_it(tmp_path):
    (tmp_path / "x.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    message = refused(tmp_path / "x.tar.zst", MosoError)
    assert "--zstd" in message or "damaged" in message
