"""A bucket's prefix as a folder: whole, checked, resumed, and read once, whatever fails in between."""

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace

import boto3
import google_crc32c
import numpy as np
import pytest

from moso.adapters.s3 import S3Address
from moso.adapters.s3_errors import S3Error
from moso.adapters.s3_fetch import IN_A_ROW
from moso.adapters.s3_keys import folds_case, plan
from moso.adapters.s3_mirror import mirror
from moso.adapters.s3_pace import BLOCK
from moso.adapters.s3_patience import Patience
from moso.errors import ConfigError, DataError, StopRequested
from moso.step import StopSignal

# Retries come at once. A silent connection is waited for long, so that a busy machine is not taken for a broken server.
QUICK = Patience(attempts=8, pause_s=0.01, longest_pause_s=0.05, timeout_s=30.0)
SOON = replace(QUICK, timeout_s=5.0)


def content(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def fill(s3, files: dict[str, bytes]) -> None:
    client, bucket = s3
    for key, data in files.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)


def files_of(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def journal(folder) -> dict[str, dict]:
    lines = folder.with_name(f"{folder.name}.s3").joinpath("objects.jsonl").read_text().splitlines()
    return {entry["path"]: entry for entry in map(json.loads, lines)}


def test_a_prefix_becomes_a_folder_and_neighbours_stay_out(s3, proxy, tmp_path):
    fill(
        s3,
        {"kth/a.avi": b"a", "kth/walking/b.avi": b"bb", "kth2/c.avi": b"c", "kth": b"an object", "kth/walking/": b""},
    )
    done = mirror(f"s3://{s3[1]}/kth/", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    assert files_of(tmp_path / "raw") == {"a.avi": b"a", "walking/b.avi": b"bb"}
    assert (done.fetched, done.unchanged, done.bytes, done.gone, done.rejected) == (2, 0, 3, (), ())


def test_the_address_of_one_object_brings_that_one(s3, proxy, tmp_path):
    fill(s3, {"data/kth.zip": b"zip", "data/kth.zip.md5": b"no"})
    mirror(f"s3://{s3[1]}/data/kth.zip", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    assert files_of(tmp_path / "raw") == {"kth.zip": b"zip"}


def test_listing_goes_on_over_pages(s3, proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")  # moto's page size; Amazon's is 1000
    files = {f"p/{i:03d}": b"%d" % i for i in range(10)}
    fill(s3, files)
    mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    assert {f"p/{name}": data for name, data in files_of(tmp_path / "raw").items()} == files
    assert sum(path == f"/{s3[1]}" for _, path, _ in proxy.requests) == 3


def test_with_a_fifth_of_requests_failing_nothing_is_lost_or_read_twice_without_need(s3, proxy, tmp_path):
    sizes = (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17)
    files = {f"set/{i % 4}/{i:02d}.bin": content(sizes[i % len(sizes)], i) for i in range(24)}
    fill(s3, files)
    proxy.share, proxy.seed, proxy.stall_s = 0.2, 53, 7.0
    done = mirror(f"s3://{s3[1]}/set", tmp_path / "raw", endpoint=proxy.url, patience=SOON, workers=8)

    assert {f"set/{name}": data for name, data in files_of(tmp_path / "raw").items()} == files
    assert done.fetched == 24
    met = [kind for kinds in proxy.faults.values() for kind in kinds]
    assert set(met) == {"drop", "error", "truncate", "stall"}, "the seed should bring every kind of fault"
    assert 0.1 < len(met) / len(proxy.requests) < 0.3
    for key, data in files.items():
        path = f"/{s3[1]}/{key}"
        # A block that had come in part when the connection fell silent is the only thing that comes again.
        again = proxy.delivered[path] - len(data)
        assert 0 <= again <= proxy.faults[path].count("stall") * BLOCK, (key, proxy.faults[path])


@pytest.mark.parametrize("kind", ["drop", "error", "truncate", "stall"])
def test_a_list_that_fails_is_asked_for_again(s3, proxy, tmp_path, kind):
    fill(s3, {"p/a": b"a", "p/b": b"b"})
    proxy.plan[f"/{s3[1]}"], proxy.stall_s = [kind], 3.0
    patience = replace(QUICK, timeout_s=1.0 if kind == "stall" else 30.0)
    assert mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=patience).fetched == 2
    assert proxy.faults[f"/{s3[1]}"] == [kind]


def test_a_second_mirroring_reads_no_object_and_new_ones_alone_are_fetched(s3, proxy, tmp_path):
    fill(s3, {"p/a": b"aaaa", "p/b": b"bbbb"})
    url, folder = f"s3://{s3[1]}/p", tmp_path / "raw"
    mirror(url, folder, endpoint=proxy.url, patience=QUICK)
    proxy.reset()
    again = mirror(url, folder, endpoint=proxy.url, patience=QUICK)
    assert (again.fetched, again.unchanged, again.bytes) == (0, 2, 0)
    assert [path for _, path, _ in proxy.requests] == [f"/{s3[1]}"]
    fill(s3, {"p/b": b"BBBB", "p/c": b"c"})  # another content of the same size, and a new object
    third = mirror(url, folder, endpoint=proxy.url, patience=QUICK)
    assert (third.fetched, third.unchanged) == (2, 1)
    assert files_of(folder) == {"a": b"aaaa", "b": b"BBBB", "c": b"c"}


def test_a_file_that_somebody_touched_or_removed_is_fetched_again(s3, proxy, tmp_path):
    fill(s3, {"p/a": b"aaaa", "p/b": b"bbbb", "p/c": b"cccc"})
    url, folder = f"s3://{s3[1]}/p", tmp_path / "raw"
    mirror(url, folder, endpoint=proxy.url, patience=QUICK)
    (folder / "a").write_bytes(b"xxxx")
    (folder / "b").unlink()
    assert mirror(url, folder, endpoint=proxy.url, patience=QUICK).fetched == 2
    assert files_of(folder) == {"a": b"aaaa", "b": b"bbbb", "c": b"cccc"}


def test_objects_gone_from_the_bucket_are_reported_and_kept(s3, proxy, tmp_path):
    fill(s3, {"p/a": b"a", "p/b": b"b"})
    url, folder = f"s3://{s3[1]}/p", tmp_path / "raw"
    mirror(url, folder, endpoint=proxy.url, patience=QUICK)
    s3[0].delete_object(Bucket=s3[1], Key="p/a")
    assert mirror(url, folder, endpoint=proxy.url, patience=QUICK).gone == ("a",)
    assert files_of(folder) == {"a": b"a", "b": b"b"}


KILLED = """
import sys
from pathlib import Path
from moso.adapters.s3_patience import Patience
from moso.adapters.s3_mirror import mirror
mirror(sys.argv[1], Path(sys.argv[2]), endpoint=sys.argv[3], patience=Patience(timeout_s=60.0))
"""


def test_a_killed_mirroring_goes_on_at_the_byte_it_had_reached(s3, proxy, tmp_path):
    data = content(4 * BLOCK)
    fill(s3, {"p/small": b"here", "p/large": data})
    proxy.plan[f"/{s3[1]}/p/large"] = ["stall"]
    proxy.stall_s = 30
    url, folder = f"s3://{s3[1]}/p", tmp_path / "raw"
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), url, folder, proxy.url])
    partial = tmp_path / "raw.s3" / "partial"
    deadline = time.monotonic() + 60
    while (
        not (folder / "small").exists()
        or max((p.stat().st_size for p in partial.glob("*")), default=0) < 2 * BLOCK - 8192
    ):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    had = max(p.stat().st_size for p in partial.glob("*"))
    assert not (folder / "large").exists()
    proxy.reset()
    proxy.plan.clear()
    mirror(url, folder, endpoint=proxy.url, patience=QUICK)
    assert files_of(folder) == {"small": b"here", "large": data}
    assert proxy.delivered[f"/{s3[1]}/p/large"] == len(data) - had
    assert f"/{s3[1]}/p/small" not in proxy.delivered
    assert ("GET", f"/{s3[1]}/p/large", f"bytes={had}-") in proxy.requests
    assert not list((tmp_path / "raw.s3").glob("partial/*"))


def test_an_object_that_changed_between_two_attempts_starts_anew(s3, proxy, tmp_path):
    old, new = content(2 * BLOCK, 1), content(2 * BLOCK, 2)
    fill(s3, {"p/a": old})
    path = f"/{s3[1]}/p/a"
    proxy.plan[path] = ["truncate"]

    def change(method, asked):
        if asked == path and sum(p == path for _, p, _ in proxy.requests) == 2:
            fill(s3, {"p/a": new})

    proxy.before = change
    mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    assert files_of(tmp_path / "raw") == {"a": new}
    ranges = [asked for method, p, asked in proxy.requests if p == path and method == "GET"]
    assert ranges == [None, f"bytes={BLOCK}-", None]


def test_a_server_that_fails_while_a_changed_object_is_looked_at_is_asked_again(s3, proxy, tmp_path):
    fill(s3, {"p/a": b"old"})
    path = f"/{s3[1]}/p/a"
    # The reading meets another version (412); then both of the HEADs fail.
    proxy.plan[path] = ["", "error", "error"]

    def change(method, asked):
        if asked == path and method == "GET" and not proxy.faults[path]:
            fill(s3, {"p/a": b"newer"})

    proxy.before = change
    done = mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=replace(QUICK, attempts=3))
    assert (files_of(tmp_path / "raw"), done.rejected) == ({"a": b"newer"}, ())
    assert [method for method, p, _ in proxy.requests if p == path] == ["GET", "HEAD", "HEAD", "HEAD", "GET"]


def test_what_is_in_an_object_s_way_or_outlives_it_is_told(s3, proxy, tmp_path):
    fill(s3, {"p/a/x": b"x", "p/b": b"b1", "p/c": b"c"})
    url, folder = f"s3://{s3[1]}/p", tmp_path / "raw"
    mirror(url, folder, endpoint=proxy.url, patience=QUICK)
    s3[0].delete_object(Bucket=s3[1], Key="p/a/x")
    fill(s3, {"p/a": b"now a file", "p/b": b"b2"})
    proxy.deny = {f"/{s3[1]}/p/b"}
    done = mirror(url, folder, endpoint=proxy.url, patience=QUICK)
    assert [record.file for record in done.rejected] == ["a", "b"]
    assert "remove that" in done.rejected[0].reason
    assert "earlier version" in done.rejected[1].reason
    assert files_of(folder) == {"a/x": b"x", "b": b"b1", "c": b"c"}


@pytest.mark.parametrize("resumed", [False, True], ids=["whole", "resumed"])
def test_a_corrupted_body_is_noticed_and_fetched_again(s3, proxy, tmp_path, resumed):
    data = content(2 * BLOCK)
    fill(s3, {"p/a": data})
    proxy.plan[f"/{s3[1]}/p/a"] = ["truncate", "corrupt"] if resumed else ["corrupt"]
    mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    assert files_of(tmp_path / "raw") == {"a": data}


def test_an_object_that_always_comes_damaged_fails_alone(s3, proxy, tmp_path):
    fill(s3, {"p/a": b"good", "p/b": b"bad", "p/c": b"good too"})
    proxy.plan[f"/{s3[1]}/p/b"] = ["corrupt"] * 20
    done = mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK, workers=1)
    assert files_of(tmp_path / "raw") == {"a": b"good", "c": b"good too"}
    assert (done.fetched, [record.file for record in done.rejected]) == (2, ["b"])
    assert "p/b" in done.rejected[0].reason
    proxy.plan.clear()
    again = mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    assert (again.fetched, again.unchanged, again.rejected) == (1, 2, ())
    assert files_of(tmp_path / "raw") == {"a": b"good", "b": b"bad", "c": b"good too"}


def test_each_object_is_checked_by_the_best_that_it_has(s3, proxy, tmp_path):
    client, bucket = s3
    data = content(1000)
    crc32c = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
    sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
    client.put_object(Bucket=bucket, Key="p/sha256", Body=data, ChecksumAlgorithm="SHA256", ChecksumSHA256=sha256)
    client.put_object(Bucket=bucket, Key="p/crc32c", Body=data, ChecksumAlgorithm="CRC32C", ChecksumCRC32C=crc32c)
    client.put_object(Bucket=bucket, Key="p/crc32", Body=data, ChecksumAlgorithm="CRC32")
    plain = boto3.client(
        "s3",
        endpoint_url=client.meta.endpoint_url,
        config=boto3.session.Config(request_checksum_calculation="when_required"),
    )
    plain.put_object(Bucket=bucket, Key="p/plain", Body=data)
    upload = plain.create_multipart_upload(Bucket=bucket, Key="p/parts")["UploadId"]
    about = {"Bucket": bucket, "Key": "p/parts", "UploadId": upload}
    tags = [plain.upload_part(**about, PartNumber=n, Body=b"x" * 5_300_000)["ETag"] for n in (1, 2)]
    parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
    plain.complete_multipart_upload(**about, MultipartUpload={"Parts": parts})
    mirror(f"s3://{bucket}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    checked = {path: entry["checked"] for path, entry in journal(tmp_path / "raw").items()}
    assert checked == {"sha256": "SHA256", "crc32c": "CRC32C", "crc32": "CRC32", "plain": "MD5", "parts": "size"}


def test_keys_that_lead_out_of_the_folder_or_meet_in_one_file_are_left_out_and_named(s3, proxy, tmp_path):
    good = {"p/good.bin": b"good", "p/folder/x": b"x"}
    bad = ["p/../../escape", "p//etc/passwd", "p/C:/x", "p/a\\b", "p/./good.bin", "p/folder", "p/x/..", "p/n\x07"]
    fill(s3, good)
    fill(s3, dict.fromkeys(bad, b"bad"))
    done = mirror(f"s3://{s3[1]}/p", tmp_path / "deep" / "raw", endpoint=proxy.url, patience=QUICK)
    lost = sorted(key.removeprefix("p/") for key in {*bad, "p/folder/x"} - {"p/folder"})
    assert [record.file for record in done.rejected] == lost
    assert files_of(tmp_path / "deep" / "raw") == {"good.bin": b"good", "folder": b"bad"}
    assert not (tmp_path / "escape").exists()
    assert not (tmp_path / "deep" / "escape").exists()


def test_names_that_differ_in_case_alone_are_two_files_only_where_the_disk_tells_them_apart(tmp_path):
    from moso.adapters.s3 import S3Object

    items = [S3Object("A.png", 1, '"1"', 0.0), S3Object("a.png", 1, '"2"', 0.0)]
    both, none = plan(S3Address("bucket"), items, fold=False)
    assert (len(both), none) == (2, [])
    one, refused = plan(S3Address("bucket"), items, fold=True)
    assert list(one) == ["A.png"]
    assert [key for key, _ in refused] == ["a.png"]
    (tmp_path / "Q").touch()
    assert folds_case(tmp_path) == (tmp_path / "q").exists()


def test_the_stop_signal_ends_it_and_what_has_come_stays(s3, proxy, tmp_path):
    fill(s3, {"p/a": content(BLOCK), "p/b": content(2 * BLOCK)})
    stop = StopSignal()
    proxy.before = lambda method, path: stop.set() if path.endswith("/b") else None
    with pytest.raises(StopRequested):
        mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK, workers=1, stop=stop)
    assert (tmp_path / "raw" / "a").exists()
    assert not (tmp_path / "raw" / "b").exists()
    proxy.before = None
    proxy.reset()
    mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    assert f"/{s3[1]}/p/a" not in proxy.delivered
    assert files_of(tmp_path / "raw") == {"a": content(BLOCK), "b": content(2 * BLOCK)}


def refusal(url, folder, endpoint, kind=S3Error, **arguments) -> str:
    with pytest.raises(kind) as caught:
        mirror(url, folder, endpoint=endpoint, patience=Patience(1, 0.01, 0.01, 30.0), **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert "secret-of-the-test" not in message
    return message


def test_what_needs_a_person_is_said_in_one_line(s3, proxy, tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    assert "no such bucket" in refusal("s3://no-such-bucket-here/p", folder, proxy.url)
    assert "no object lies there" in refusal(f"s3://{s3[1]}/nothing", folder, proxy.url, DataError)
    assert "see that it is up" in refusal(f"s3://{s3[1]}/p", folder, "http://127.0.0.1:9")
    assert "is no S3 address" in refusal("http://bucket/p", folder, proxy.url, ConfigError)
    assert "no bucket's name" in refusal("s3://Bucket_/p", folder, proxy.url, ConfigError)
    assert "endpoint = 'no address'" in refusal(f"s3://{s3[1]}/p", folder, "no address", ConfigError)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "no credentials" in refusal(f"s3://{s3[1]}/p", folder, proxy.url)
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_ACCESS_KEY_ID" in refusal(f"s3://{s3[1]}/p", folder, proxy.url)


def test_a_denied_list_and_a_denied_object_name_the_right_that_is_missing(s3, proxy, tmp_path):
    fill(s3, {"p/a": b"a", "p/b": b"b"})
    denied = proxy.deny = {f"/{s3[1]}/p/a"}
    done = mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    assert files_of(tmp_path / "raw") == {"b": b"b"}
    assert [record.file for record in done.rejected] == ["a"]
    assert "s3:GetObject" in done.rejected[0].reason
    denied.add(f"/{s3[1]}/p/b")
    said = refusal(f"s3://{s3[1]}/p", tmp_path / "other", proxy.url)  # no object at all: a matter of the credentials
    assert "s3:GetObject" in said
    assert "all of the 2 objects" in said
    denied.add(f"/{s3[1]}")
    assert "s3:ListBucket" in refusal(f"s3://{s3[1]}/p", tmp_path / "raw", proxy.url)


def test_the_endpoint_of_the_environment_is_used(s3, proxy, tmp_path, monkeypatch):
    fill(s3, {"p/a": b"a"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    mirror(f"s3://{s3[1]}/p", tmp_path / "raw", patience=QUICK)
    assert files_of(tmp_path / "raw") == {"a": b"a"}


def test_a_server_that_never_gives_up_failing_ends_it(s3, proxy, tmp_path):
    fill(s3, {"p/a": content(BLOCK)})
    proxy.plan[f"/{s3[1]}/p/a"] = ["truncate"] * 100
    with pytest.raises(S3Error, match="run again"):
        mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=QUICK)
    assert len(proxy.requests) == 1 + QUICK.attempts
    assert os.listdir(tmp_path / "raw") == []


@pytest.mark.parametrize("kind", ["truncate", "drop", "error"])
def test_an_object_that_always_breaks_off_is_set_aside_and_all_others_come(s3, proxy, tmp_path, kind):
    files = {f"p/{name}": content(BLOCK, n) for n, name in enumerate("abc")}
    fill(s3, files)
    path = f"/{s3[1]}/p/a"
    proxy.plan[path] = [kind] * 100
    few = replace(QUICK, attempts=3)
    # One worker, and the bad object is the first: nothing has arrived that could tell that the server is well.
    done = mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=few, workers=1)
    assert files_of(tmp_path / "raw") == {"b": files["p/b"], "c": files["p/c"]}
    assert (done.fetched, [record.file for record in done.rejected]) == (2, ["a"])
    reason = done.rejected[0].reason
    assert "broke off 3 times" in reason
    assert f"of {BLOCK}" in reason
    assert "gives other objects" in reason
    # The next run has nothing else to do: an object that is in the mirror already tells.
    again = mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=few)
    assert (again.fetched, again.unchanged, [record.file for record in again.rejected]) == (0, 2, ["a"])
    proxy.plan.clear()
    mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=few)
    assert {f"p/{name}": data for name, data in files_of(tmp_path / "raw").items()} == files
    assert not list((tmp_path / "raw.s3").glob("partial/*"))


def test_what_has_come_of_an_object_that_breaks_off_is_not_fetched_again_by_the_next_run(s3, proxy, tmp_path):
    data = content(3 * BLOCK)
    fill(s3, {"p/a": data, "p/b": b"b"})
    path = f"/{s3[1]}/p/a"
    proxy.plan[path] = ["truncate", "drop", "drop"]
    few = replace(QUICK, attempts=3)
    done = mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=few)
    assert [record.file for record in done.rejected] == ["a"]
    assert mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=few).rejected == ()
    assert files_of(tmp_path / "raw") == {"a": data, "b": b"b"}
    assert proxy.delivered[path] == len(data)


def test_a_server_that_goes_away_ends_the_run_and_sets_nothing_aside(s3, proxy, tmp_path):
    files = {f"p/{n:02d}": content(100, n) for n in range(12)}
    fill(s3, files)
    for name in files:
        proxy.plan[f"/{s3[1]}/{name}"] = ["error"] * 100
    proxy.plan[f"/{s3[1]}/p/00"] = [""] + ["error"] * 100  # one arrives, then there is nothing but errors
    with pytest.raises(S3Error, match="see that it is up and reachable, then run again"):
        mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=replace(QUICK, attempts=3))
    assert files_of(tmp_path / "raw") == {"00": files["p/00"]}


def test_a_long_row_of_objects_that_break_off_is_no_matter_of_single_ones(s3, proxy, tmp_path):
    names = [f"p/{n:02d}" for n in range(IN_A_ROW + 4)]
    fill(s3, dict.fromkeys(names, b"12345678"))
    # Every reading from the beginning is cut; the last byte alone, which tells that the server is there, comes.
    for name in names:
        proxy.plan[f"/{s3[1]}/{name}"] = ["halve"]
    with pytest.raises(S3Error, match=f"the {IN_A_ROW}th in a row: see to the server, then run again"):
        mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=replace(QUICK, attempts=1))


# A second's pace is taken, and at least 20 kB have to come in it: 50 bytes a second are no answer of use.
PACED = replace(QUICK, window_s=1.0, least_bytes_per_s=20_000.0)


def test_a_body_that_comes_drop_by_drop_is_left_and_resumed_by_range(s3, proxy, tmp_path):
    data = content(4 * BLOCK)
    fill(s3, {"p/a": data})
    path = f"/{s3[1]}/p/a"
    proxy.plan[path] = ["drip"]
    mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=PACED)
    assert files_of(tmp_path / "raw") == {"a": data}
    first, second = (asked for method, p, asked in proxy.requests if p == path)
    assert first is None
    at = int(second.removeprefix("bytes=").removesuffix("-"))
    assert 2 * BLOCK - 5000 < at <= 2 * BLOCK + 200, "a quarter of the least pace is asked for at a time"


@pytest.mark.parametrize("kind", ["trickle", "silence"])
def test_an_answer_that_does_not_come_is_asked_for_again(s3, proxy, tmp_path, kind):
    fill(s3, {"p/a": b"aaaa"})
    proxy.plan[f"/{s3[1]}"], proxy.plan[f"/{s3[1]}/p/a"] = [kind], [kind]
    patience = replace(PACED, timeout_s=1.0)
    mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=patience)
    assert files_of(tmp_path / "raw") == {"a": b"aaaa"}
    assert list(proxy.faults.values()) == [[kind], [kind]]


def test_an_object_that_always_drips_is_set_aside_with_its_pace(s3, proxy, tmp_path):
    fill(s3, {"p/a": content(BLOCK), "p/b": b"b"})
    proxy.plan[f"/{s3[1]}/p/a"] = ["drip"] * 9
    done = mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=replace(PACED, attempts=2))
    assert files_of(tmp_path / "raw") == {"b": b"b"}
    assert [record.file for record in done.rejected] == ["a"]
    assert re.search(r"broke off 2 times .* bytes in 1 s\)", done.rejected[0].reason)
    for thread in threading.enumerate():
        if thread.name == "s3 body":
            thread.join(10)
            assert not thread.is_alive(), "who left a body also ends its reading"


@pytest.mark.parametrize("kind", ["trickle", "silence", "drip"])
def test_a_server_that_always_drips_or_never_answers_is_reported(s3, proxy, tmp_path, kind):
    fill(s3, {"p/a": b"a", "p/b": content(BLOCK)})
    for path in ("", "/p/a", "/p/b"):
        proxy.plan[f"/{s3[1]}{path}"] = [kind] * 50
    proxy.stall_s = 30.0
    patience = replace(PACED, attempts=2, timeout_s=1.0)
    # The answer's time and the connection's are both a second: which of them ends first, and is named, is chance.
    late = r"(no whole answer in 1 s|timed out|Read timeout on endpoint)"
    with pytest.raises(S3Error, match=rf"no usable answer from .*{late}.*run again"):
        mirror(f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=patience)


def test_the_stop_signal_is_heard_while_a_connection_is_silent(s3, proxy, tmp_path):
    fill(s3, {"p/a": content(2 * BLOCK)})
    proxy.plan[f"/{s3[1]}/p/a"], proxy.stall_s = ["stall"], 120.0
    stop = StopSignal()
    # A second after the request has met its fault: on a busy machine that alone takes more than a second.
    proxy.before = lambda _, path: threading.Timer(1.0, stop.set).start() if path.endswith("/p/a") else None
    deadline = time.monotonic() + 60
    with pytest.raises(StopRequested):
        mirror(
            f"s3://{s3[1]}/p", tmp_path / "raw", endpoint=proxy.url, patience=replace(QUICK, timeout_s=600.0), stop=stop
        )
    assert proxy.faults[f"/{s3[1]}/p/a"] == ["stall"], "it was in the middle of the body"
    assert time.monotonic() < deadline
