"""Where raw files come from: a folder, an archive, or a bucket, always one folder to the reader."""

import fcntl
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from pathlib import Path

import pytest

from components.raw import raw_root
from moso.config import build, to_dict
from moso.datasets.spec import DatasetSpec
from moso.errors import DataError, StopRequested
from moso.step import StopSignal


def spec_of(**source) -> DatasetSpec:
    return build(
        DatasetSpec,
        {
            "name": "arms",
            "format": "sim_push",
            "source": source,
            "fps": 10,
            "splits": {"rule": "id_ranges", "train": [0, 1], "validation": [1, 2], "test": [2, 3]},
        },
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pack_zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@pytest.fixture
def kth(tmp_path) -> Path:
    """A folder as KTH is delivered: archives, and a list beside them."""
    folder = tmp_path / "kth"
    pack_zip(folder / "walking.zip", {"person01_walking_d1.avi": b"walks"})
    pack_zip(folder / "more" / "boxing.zip", {"x/person01_boxing_d1.avi": b"boxes"})
    (folder / "00sequences.txt").write_bytes(b"list")
    return folder


TREE = {
    "00sequences.txt": b"list",
    "person01_walking_d1.avi": b"walks",
    "more/x/person01_boxing_d1.avi": b"boxes",
}


def test_a_folder_is_its_own_root(kth, tmp_path):
    assert raw_root(spec_of(kind="folder", path=str(kth)), None, tmp_path / "work", None).root == kth
    assert not (tmp_path / "work").exists()


def test_the_default_folder_is_the_data_set_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "arms" / "raw").mkdir(parents=True)
    root = raw_root(spec_of(kind="folder"), None, tmp_path / "work", None).root
    assert root == tmp_path / "data" / "arms" / "raw"


def test_a_place_that_is_not_there_says_where_to_name_another(tmp_path):
    with pytest.raises(DataError, match=r"ingest\.raw"):
        raw_root(spec_of(kind="folder", path=str(tmp_path / "missing")), None, tmp_path / "work", None)


def test_an_archive_is_unpacked_once(tmp_path):
    pack_zip(tmp_path / "x.zip", {"a/b": b"1"})
    spec = spec_of(kind="archive", path=str(tmp_path / "x.zip"))
    root = raw_root(spec, None, tmp_path / "work", None).root
    assert files_of(root) == {"a/b": b"1"}
    before = (root / "a" / "b").stat().st_ctime_ns
    assert raw_root(spec, None, tmp_path / "work", None).root == root
    assert (root / "a" / "b").stat().st_ctime_ns == before


def test_archives_inside_a_folder_unpack_in_their_place_and_the_folder_stays_as_it_is(kth, tmp_path):
    before = files_of(kth)
    spec = spec_of(kind="folder", path=str(kth), archives=["*.zip", "more/*.zip"])
    root = raw_root(spec, None, tmp_path / "work", None).root
    assert files_of(root) == TREE
    assert files_of(kth) == before
    inode = root.stat().st_ino
    assert raw_root(spec, None, tmp_path / "work", None).root.stat().st_ino == inode, "made anew without need"
    (kth / "new.txt").write_bytes(b"new")
    assert files_of(raw_root(spec, None, tmp_path / "work", None).root) == {**TREE, "new.txt": b"new"}


def test_a_linked_folder_beside_archives_is_in_the_tree_and_one_that_leads_round_is_followed_once(kth, tmp_path):
    (tmp_path / "elsewhere" / ".hidden").mkdir(parents=True)
    (tmp_path / "elsewhere" / "person02_running_d1.avi").write_bytes(b"runs")
    (tmp_path / "elsewhere" / ".hidden" / "x").write_bytes(b"x")
    (kth / "running").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(kth)
    spec = spec_of(kind="folder", path=str(kth), archives=["**/*.zip"])
    root = raw_root(spec, None, tmp_path / "work", None).root
    linked = {"running/person02_running_d1.avi": b"runs", "running/.hidden/x": b"x"}
    assert files_of(root) == {**TREE, **linked}


def test_the_same_file_in_two_archives_and_a_pattern_without_archive_are_refused(kth, tmp_path):
    pack_zip(kth / "again.zip", {"person01_walking_d1.avi": b"other"})
    with pytest.raises(DataError, match="in another archive too"):
        raw_root(spec_of(kind="folder", path=str(kth), archives=["*.zip"]), None, tmp_path / "work", None)
    with pytest.raises(DataError, match=r"no archive matches '\*\.tar'"):
        raw_root(spec_of(kind="folder", path=str(kth), archives=["*.tar"]), None, tmp_path / "work", None)


def test_the_spec_s_limit_holds(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a")
        member.size = 2000
        archive.addfile(member, io.BytesIO(bytes(2000)))
    spec = spec_of(kind="archive", path=str(tmp_path / "x.tar"), limit_gigabytes=1e-6)
    with pytest.raises(DataError, match="more than 1000 bytes"):
        raw_root(spec, None, tmp_path / "work", None)


def test_an_override_names_another_place(kth, tmp_path):
    pack_zip(tmp_path / "x.zip", {"a": b"1"})
    spec = spec_of(kind="folder", path=str(tmp_path / "missing"))
    assert raw_root(spec, str(kth), tmp_path / "work", None).root == kth
    assert files_of(raw_root(spec, str(tmp_path / "x.zip"), tmp_path / "work", None).root) == {"a": b"1"}


@pytest.fixture
def bucket(kth, tmp_path, monkeypatch):
    """The same files in a bucket: (endpoint, bucket, client)."""
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    # moto keeps its buckets for as long as the process lives
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="raw-data")
    for name, data in files_of(kth).items():
        client.put_object(Bucket="raw-data", Key=f"kth/{name}", Body=data)
    yield endpoint, "raw-data", client
    server.stop()


def test_a_bucket_is_mirrored_its_archives_unpacked_and_what_is_new_comes_with_the_next_call(bucket, tmp_path, capsys):
    endpoint, name, client = bucket
    spec = spec_of(kind="s3", url=f"s3://{name}/kth", endpoint=endpoint, archives=["**/*.zip"])
    root = raw_root(spec, None, tmp_path / "work", None).root
    assert files_of(root) == TREE
    client.put_object(Bucket=name, Key="kth/late.avi", Body=b"late")
    client.put_object(Bucket=name, Key="kth/../late.avi", Body=b"evil")
    client.delete_object(Bucket=name, Key="kth/00sequences.txt")
    capsys.readouterr()
    assert files_of(raw_root(spec, None, tmp_path / "work", None).root) == {**TREE, "late.avi": b"late"}
    said = capsys.readouterr().err
    assert "1 objects fetched, 2 unchanged" in said
    assert "left out '../late.avi'" in said
    assert "1 files are gone from the bucket and kept" in said


def test_what_a_bucket_does_not_give_is_told_beside_the_root_and_the_rest_is_there(bucket, tmp_path):
    endpoint, name, client = bucket
    client.put_object(Bucket=name, Key="kth/late.avi", Body=b"late", StorageClass="GLACIER")  # not to be read as it is
    client.put_object(Bucket=name, Key="kth/../late.avi", Body=b"evil")
    spec = spec_of(kind="s3", url=f"s3://{name}/kth", endpoint=endpoint, archives=["**/*.zip"])
    raw = raw_root(spec, None, tmp_path / "work", None)
    assert files_of(raw.root) == TREE
    assert [(record.file, record.offset) for record in raw.rejected] == [("../late.avi", 0), ("late.avi", 0)]
    assert "'..'" in raw.rejected[0].reason
    assert "denied (InvalidObjectState)" in raw.rejected[1].reason


def test_an_archive_that_the_bucket_does_not_give_is_named_where_its_pattern_finds_none(bucket, tmp_path):
    endpoint, name, client = bucket
    client.put_object(Bucket=name, Key="kth/x.tar", Body=b"tar", StorageClass="GLACIER")
    spec = spec_of(kind="s3", url=f"s3://{name}/kth", endpoint=endpoint, archives=["*.tar"])
    with pytest.raises(DataError, match=r"no archive matches '\*\.tar'.*x\.tar could not be had: .*denied"):
        raw_root(spec, None, tmp_path / "work", None)


def test_one_process_at_a_time_and_the_stop_signal_ends_the_waiting(kth, tmp_path, capsys):
    spec, work = spec_of(kind="folder", path=str(kth), archives=["*.zip"]), tmp_path / "work"
    raw_root(spec, None, work, None)
    (lock,) = work.glob("raw/*/.lock")
    stop = StopSignal()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(0.5, stop.set).start()
        with pytest.raises(StopRequested):
            raw_root(spec, None, work, stop)
    assert "another process" in capsys.readouterr().err


USING = """
import sys
from pathlib import Path
from components.raw import raw_root
from moso.config import build
from moso.datasets.spec import DatasetSpec
import json
raw = raw_root(build(DatasetSpec, json.loads(sys.argv[1])), None, Path(sys.argv[2]), None)
print(raw.root, flush=True)
sys.stdin.read()
"""


def use(work: Path, source: dict) -> tuple[subprocess.Popen, Path]:
    """Another process that asked for the raw files and still uses them, and the root it was given."""
    spec = json.dumps(to_dict(spec_of(**source)))
    process = subprocess.Popen(
        [sys.executable, "-c", USING, spec, work], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_what_another_process_uses_stays_as_it_was_until_that_process_ends(kth, tmp_path, kind):
    work, archive = tmp_path / "work", kth / "walking.zip"
    source = {"kind": "archive", "path": str(archive)}
    first, second = {"person01_walking_d1.avi": b"walks"}, {"person01_walking_d1.avi": b"walks on"}
    if kind == "folder":
        source = {"kind": "folder", "path": str(kth), "archives": ["*.zip", "more/*.zip"]}
        first, second = TREE, {**TREE, **second}
    user, root = use(work, source)
    pack_zip(archive, {"person01_walking_d1.avi": b"walks on"})
    later, new = use(work, source)  # a second process, with the archive's next version
    later.communicate()
    assert files_of(root) == first
    assert files_of(new) == second
    user.communicate()
    last, again = use(work, source)
    last.communicate()
    assert (again, files_of(again)) == (new, second)
    assert not root.exists(), "what nobody uses any more should go"
