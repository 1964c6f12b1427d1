"""The KTH reader against AVIs and a 00sequences.txt written by hand and by PyAV."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moso.datasets.episode import Episode, Rejected
from moso.datasets.ingest import ingest
from moso.datasets.lists import VARIABLE, read_list
from moso.datasets.readers import kth
from moso.datasets.spec import DatasetSpec, ListSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError, DataError
from moso.evaluation.benchmark_table import differences
from moso.evaluation.protocol_file import load_protocol, protocol_names

pytest.importorskip("av")
fmt = pytest.importorskip("formats.loose_files")
SPECS = Path(__file__).parents[2] / "data" / "specs"
PUBLISHED = Path("/work/shared/lists")
HEADER = "".join(
    f"{line}\n" for line in ("=" * 70, "Frames in which the person is in the picture,", "1-20 for one", "")
)


@pytest.fixture
def shipped() -> DatasetSpec:
    return DatasetSpec.load(SPECS / "kth.yaml")


@pytest.fixture
def spec(shipped: DatasetSpec) -> DatasetSpec:
    """With the ranges of 00sequences.txt, which tests write by hand."""
    return replace(shipped, options={"ranges": "sequences"})


def avi(root: Path, name: str, frames: int = 12, **codec: str) -> np.ndarray:
    grey = fmt.moving(frames, seed=len(name) + sum(map(ord, name)))
    fmt.video(root / f"{name}_uncomp.avi", grey, 25, **codec)
    return np.repeat(grey[..., None], 3, axis=-1)


def sequences(root: Path, *lines: str) -> None:
    (root / "00sequences.txt").write_text(HEADER + "\r\n".join(lines) + "\r\n")


def episodes(root: Path, spec: DatasetSpec, wanted: set[str] | None = None) -> dict[str, Episode]:
    found = {}
    for source in kth.sources(root, spec):
        for record in kth.read(root, source, spec, wanted):
            assert isinstance(record, Episode), record
            found[record.episode_id] = record
    return found


def rejected(root: Path, spec: DatasetSpec) -> list[Rejected]:
    found = []
    for source in kth.sources(root, spec):
        for record in kth.read(root, source, spec):
            if isinstance(record, Rejected):
                found.append(record)
                continue
            try:
                record.load()
            except DataError as error:
                found.append(Rejected(source.name, record.offset, str(error)))
    return found


def test_every_range_is_its_frames_first_and_last_included(tmp_path, spec):
    boxing = avi(tmp_path / "boxing", "person01_boxing_d1")
    walking = avi(tmp_path / "walking", "person17_walking_d4", 8)
    sequences(
        tmp_path,
        "person01_boxing_d1\t\tframes\t1-4, 5-9,10-12",
        "person17_walking_d4 \t frames  2 - 8",
    )
    found = episodes(tmp_path, spec)
    assert list(found) == [
        "person01_boxing_d1/0001-0004",
        "person01_boxing_d1/0005-0009",
        "person01_boxing_d1/0010-0012",
        "person17_walking_d4/0002-0008",
    ]
    frames = [boxing[0:4], boxing[4:9], boxing[9:12], walking[1:8]]
    for episode, expected in zip(found.values(), frames, strict=True):
        np.testing.assert_array_equal(episode.load(), expected)
        np.testing.assert_array_equal(episode.load(), expected)  # a stream can be opened again
        assert episode.fps == 25
    assert [e.recording for e in found.values()] == ["person01_boxing_d1"] * 3 + ["person17_walking_d4"]
    only = episodes(tmp_path, spec, {"person01_boxing_d1/0005-0009"})
    assert list(only) == ["person01_boxing_d1/0005-0009"]


def test_the_ranges_of_a_file_are_read_in_one_pass(tmp_path, spec):
    """The file is opened once: it may be gone when the second range is read."""
    boxing = avi(tmp_path, "person01_boxing_d1", 30)
    sequences(tmp_path, "person01_boxing_d1\t\tframes\t1-9, 12-20, 21-30")
    (source,) = kth.sources(tmp_path, spec)
    records = kth.read(tmp_path, source, spec)
    np.testing.assert_array_equal(next(records).load(), boxing[:9])
    (tmp_path / source.name).unlink()
    np.testing.assert_array_equal(next(records).load(), boxing[11:20])
    last = next(records)
    np.testing.assert_array_equal(last.load(), boxing[20:])
    with pytest.raises(DataError, match="No such file"):
        last.load()  # a second time: anew


def test_the_published_codec_is_read_in_order_and_grey(tmp_path, spec):
    expected = avi(tmp_path, "person02_running_d2", 30, codec="mpeg4", qmin="1", qmax="2")
    sequences(tmp_path, "person02_running_d2\t\tframes\t1-30")
    (episode,) = episodes(tmp_path, spec).values()
    frames = episode.load()
    assert (frames == frames[..., :1]).all()
    error = np.abs(frames.astype(int)[:, None] - expected[None]).mean(axis=(2, 3, 4))
    assert error.diagonal().max() < 4
    assert (error.argmin(axis=1) == np.arange(30)).all()


def test_coloured_noise_of_a_codec_becomes_grey_by_its_luma():
    colours = np.array([[[[200, 100, 50], [7, 7, 7], [255, 255, 255]]]], dtype=np.uint8)
    # 0.299 x 200 + 0.587 x 100 + 0.114 x 50 = 124.2
    np.testing.assert_array_equal(kth.grey(colours)[0, 0, :, 0], [124, 7, 255])


def test_persons_are_split_as_in_the_paper_with_two_for_validation(tmp_path, spec):
    people = {"01": "train", "14": "train", "15": "validation", "16": "validation", "17": "test", "25": "test"}
    for person in people:
        avi(tmp_path, f"person{person}_jogging_d1", 3)
    found = episodes(tmp_path, replace(spec, options={"ranges": "whole"}))
    splits = Splits.of(spec)
    assert {e.recording[6:8]: splits.split_of(e) for e in found.values()} == people
    assert list(found) == [f"person{person}_jogging_d1" for person in people]


def test_bad_ranges_and_files_are_set_aside_and_the_others_are_read(tmp_path, spec):
    good = avi(tmp_path, "person01_boxing_d1")
    for name in ("person02_boxing_d1", "person03_boxing_d1", "person04_boxing_d1", "person05_boxing_d1"):
        avi(tmp_path, name)
    cut = tmp_path / "person02_boxing_d1_uncomp.avi"
    cut.write_bytes(cut.read_bytes()[:-200])
    (tmp_path / "person03_boxing_d1_uncomp.avi").write_bytes(b"")
    sequences(
        tmp_path,
        "person01_boxing_d1\t\tframes\t1-4, 9-13, 20-30, 0-3, 5-2",
        "person02_boxing_d1\t\tframes\t1-4, 7-9",
        "person03_boxing_d1\t\tframes\t1-4",
        "person05_boxing_d1\t\tframes\t1-4, five-9",
        "person13_handclapping_d3\t*missing*",
        "person06_boxing_d1\t\tframes\t1-4",
        "person06_walking_d1\t\tframes\t1-4",
    )
    reasons = {(r.file[6:8], r.offset): r.reason for r in rejected(tmp_path, spec)}
    assert "it ends with frame 12" in reasons["01", 9]
    assert "it ends before frame 20" in reasons["01", 20]
    assert "begin with 1" in reasons["01", 0]
    assert "cut off" in reasons["02", 1]
    assert "cut off" in reasons["02", 7]  # a row a range that is lost
    assert reasons["03", 1] == "the file is empty"
    assert "no line for person04_boxing_d1" in reasons["04", 0]
    assert "no ranges that can be read" in reasons["05", 0]
    assert reasons["06", 1] == "the file is missing"  # but no word of walking, of which no file is there
    assert all(str(tmp_path) not in reason for reason in reasons.values())

    result = ingest(tmp_path, kth.sources(tmp_path, spec), spec)
    assert list(result.manifest.table["episode_id"]) == ["person01_boxing_d1/0001-0004"]
    assert result.manifest.table["sha256"][0] == hashlib.sha256(good[:4].tobytes()).hexdigest()
    assert len(result.rejected) == 10


def test_the_file_that_was_never_published_is_not_missed(tmp_path, spec):
    avi(tmp_path, "person12_handclapping_d3")
    sequences(tmp_path, "person12_handclapping_d3\t\tframes\t1-4", "person13_handclapping_d3\t\tframes\t1-9")
    assert len(episodes(tmp_path, spec)) == 1


def test_a_folder_that_is_no_kth_says_what_is_missing(tmp_path, spec):
    with pytest.raises(DataError, match="no such folder"):
        kth.sources(tmp_path / "missing", spec)
    with pytest.raises(DataError, match=r"boxing\.zip"):
        kth.sources(tmp_path, spec)
    avi(tmp_path, "person01_boxing_d1", 3)
    with pytest.raises(DataError, match=r"00sequences\.txt is not below it.*ranges: whole"):
        kth.sources(tmp_path, spec)
    (tmp_path / "00sequences.txt").write_text("<html>not found</html>")
    with pytest.raises(DataError, match="no line 'person01_boxing_d1"):
        kth.sources(tmp_path, spec)
    with pytest.raises(ConfigError, match="ranges"):
        replace(spec, options={"ranges": "best"})


def test_the_shipped_spec_takes_the_ranges_that_the_papers_protocols_ask_for(shipped):
    assert shipped.options["ranges"] == "mcnet"
    asked = {name: load_protocol(name).split_lists for name in protocol_names() if name.startswith("kth/")}
    assert {len(lists) for lists in asked.values()} == {1}
    of_spec = {item.file: item.sha256 for item in kth.lists_used(shipped)}
    assert all(lists.items() <= of_spec.items() for lists in asked.values())


def test_mcnets_ranges_come_from_the_lists_of_the_spec(tmp_path, spec, monkeypatch):
    frames = avi(tmp_path / "raw", "person01_boxing_d1")
    avi(tmp_path / "raw", "person25_boxing_d1")
    mcnet = replace(spec, options={"ranges": "mcnet"})
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match="moso data fetch-lists"):
        kth.sources(tmp_path / "raw", mcnet)
    text = b"person01_boxing_d1 1 5\nperson01_boxing_d1 5 11\n"
    (tmp_path / "train.txt").write_bytes(text)
    item = ListSpec("train.txt", "https://example.org/train.txt", 2, hashlib.sha256(text).hexdigest())
    mcnet = replace(mcnet, lists=(item,))
    found = episodes(tmp_path / "raw", mcnet)
    assert Splits.of(mcnet).label["lists"] == {"train.txt": item.sha256}  # every figure's protocol says it
    assert "lists" not in Splits.of(spec).label
    assert list(found) == ["person01_boxing_d1/0001-0005", "person01_boxing_d1/0005-0011"]
    np.testing.assert_array_equal(found["person01_boxing_d1/0005-0011"].load(), frames[4:11])


@pytest.mark.skipif(not PUBLISHED.is_dir() and VARIABLE not in os.environ, reason="the published lists are not here")
def test_the_published_lists_of_mcnet_are_read_whole(tmp_path, spec, shipped, monkeypatch):
    monkeypatch.setenv(VARIABLE, os.environ.get(VARIABLE, str(PUBLISHED)))
    for published, (file, count) in zip(spec.lists, (("train", 1525), ("test", 863)), strict=True):
        lines = read_list(published)
        assert lines is not None
        assert len(lines) == count, file
    names = ("person01_boxing_d1", "person17_boxing_d1")
    for name in names:
        avi(tmp_path, name, 3)
    mcnet = replace(spec, options={"ranges": "mcnet"})
    found = [
        record.episode_id
        for source in kth.sources(tmp_path, mcnet)
        for record in kth.read(tmp_path, source, mcnet)
        if isinstance(record, Episode)
    ]
    listed = Counter(line.split()[0] for item in spec.lists for line in read_list(item) or ())
    assert Counter(name.split("/")[0] for name in found) == {name: listed[name] for name in names}
    assert found[0] == "person01_boxing_d1/0001-0095"
    label = Splits.of(spec).label  # of 00sequences.txt: no list, and no protocol of the paper's
    assert not any("splits" in where or "split_lists" in where for where in differences("bair/64", {"splits": label}))
    assert "split_lists" in " ".join(differences("kth/64", {"splits": label}))
    assert "split_lists" not in " ".join(differences("kth/64", {"splits": Splits.of(shipped).label}))


def test_the_list_of_ranges_is_decisive_and_no_file_of_a_recording(tmp_path, spec):
    avi(tmp_path, "person01_boxing_d1")
    sequences(tmp_path, "person01_boxing_d1\t\tframes\t1-4, 5-9")
    (source,) = kth.sources(tmp_path, spec)
    assert source.files == (source.name,)
    content = (tmp_path / "00sequences.txt").read_bytes()
    assert kth.decisive(tmp_path, spec) == {"00sequences.txt": hashlib.sha256(content).hexdigest()}
    sequences(tmp_path, "person01_boxing_d1\t\tframes\t1-4, 5-9, 10-12")
    assert kth.decisive(tmp_path, spec) != {"00sequences.txt": hashlib.sha256(content).hexdigest()}
    assert len(list(kth.read(tmp_path, source, spec))) == 3
    assert kth.decisive(tmp_path, replace(spec, options={"ranges": "whole"})) == {}
