"""The UCF101 reader against class folders and split lists written by hand and by PyAV."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moso.datasets.episode import Episode, Rejected
from moso.datasets.ingest import ingest
from moso.datasets.readers import ucf101
from moso.datasets.spec import DatasetSpec
from moso.errors import ConfigError, DataError

pytest.importorskip("av")
fmt = pytest.importorskip("formats.loose_files")
SPECS = Path(__file__).parents[2] / "data" / "specs"


@pytest.fixture
def spec() -> DatasetSpec:
    return DatasetSpec.load(SPECS / "ucf101.yaml")


def clip(root: Path, kind: str, group: int, number: int, fps: float = 25, frames: int = 5) -> np.ndarray:
    pixels = fmt.coloured(frames, seed=100 * group + number)
    name = f"v_{kind}_g{group:02d}_c{number:02d}.avi"
    fmt.video(root / "UCF-101" / kind / name, pixels, fps, codec="huffyuv")
    return pixels


def lists(folder: Path, train: list[str], test: list[str], number: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"trainlist0{number}.txt").write_text("".join(f"{name} {i + 1}\r\n" for i, name in enumerate(train)))
    (folder / f"testlist0{number}.txt").write_text("".join(f"{name}\n" for name in test))


def read(root: Path, spec: DatasetSpec) -> dict[str, Episode | Rejected]:
    return {s.name: record for s in ucf101.sources(root, spec) for record in ucf101.read(root, s, spec)}


@pytest.mark.parametrize("place", ["raw/ucfTrainTestlist", "ucfTrainTestlist"])
def test_clips_are_their_frames_with_the_split_that_the_lists_say(tmp_path, spec, place):
    root = tmp_path / "raw"
    frames = [clip(root, "Archery", 8, 1), clip(root, "Archery", 1, 2, fps=29.97), clip(root, "HandstandPushups", 1, 1)]
    lists(
        tmp_path / place,
        ["Archery/v_Archery_g08_c01.avi"],
        ["Archery/v_Archery_g01_c02.avi", "HandStandPushups/v_HandStandPushups_g01_c01.avi"],
    )
    lists(tmp_path / place, [], ["Archery/v_Archery_g08_c01.avi"], number=2)
    found = read(root, spec)
    one, eight, stand = found.values()  # by name
    assert [e.episode_id for e in (one, eight, stand)] == [
        "v_Archery_g01_c02",
        "v_Archery_g08_c01",
        "v_HandstandPushups_g01_c01",
    ]
    assert [e.split for e in (one, eight, stand)] == ["test", "train", "test"]
    assert [e.recording for e in (one, eight, stand)] == ["v_Archery_g01", "v_Archery_g08", "v_HandstandPushups_g01"]
    assert one.fps == pytest.approx(29.97, abs=1e-3)
    assert eight.fps == 25
    for episode, expected in zip((eight, one, stand), frames, strict=True):
        np.testing.assert_array_equal(episode.load(), expected)
    again = read(root, replace(spec, options={"list": 2}))
    assert again["UCF-101/Archery/v_Archery_g08_c01.avi"].split == "test"
    only = [e for s in ucf101.sources(root, spec) for e in ucf101.read(root, s, spec, {"v_Archery_g08_c01"})]
    assert [e.episode_id for e in only] == ["v_Archery_g08_c01"]


def test_damaged_and_unlisted_clips_are_set_aside(tmp_path, spec):
    for group in range(1, 6):
        clip(tmp_path, "Biking", group, 1)
    names = [f"Biking/v_Biking_g{g:02d}_c01.avi" for g in range(1, 6)]
    lists(tmp_path, [*names[:3], names[4]], [names[4]])
    (tmp_path / "UCF-101" / names[0]).write_bytes(b"")
    half = tmp_path / "UCF-101" / names[1]
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    found = ingest(tmp_path, ucf101.sources(tmp_path, spec), spec)
    assert list(found.manifest.table["episode_id"]) == ["v_Biking_g03_c01"]
    reasons = {r.file.rsplit("/", 1)[-1]: r.reason for r in found.rejected}
    assert reasons["v_Biking_g01_c01.avi"] == "the file is empty"
    assert "cut off" in reasons["v_Biking_g02_c01.avi"]
    assert "neither in trainlist01.txt nor in testlist01.txt" in reasons["v_Biking_g04_c01.avi"]
    assert "in trainlist01.txt and in testlist01.txt" in reasons["v_Biking_g05_c01.avi"]


def test_a_groups_clips_share_a_split_also_where_some_are_drawn_for_validation(tmp_path, spec):
    for group in range(1, 9):
        for number in (1, 2):
            clip(tmp_path, "Archery", group, number, frames=2)
    lists(tmp_path, [f"Archery/v_Archery_g{g:02d}_c{c:02d}.avi" for g in range(1, 9) for c in (1, 2)], [])
    half = replace(spec, splits=replace(spec.splits, validation_share=0.5))
    table = ingest(tmp_path, ucf101.sources(tmp_path, half), half).manifest.table
    assert set(table["split"]) == {"train", "validation"}
    assert (table.groupby("recording")["split"].nunique() == 1).all()


def test_a_folder_that_is_no_ucf101_says_what_is_missing(tmp_path, spec):
    with pytest.raises(DataError, match=r"UCF101\.rar"):
        ucf101.sources(tmp_path, spec)
    clip(tmp_path / "raw", "Archery", 1, 1)
    with pytest.raises(DataError, match=r"trainlist01\.txt is neither below it nor in ucfTrainTestlist"):
        ucf101.sources(tmp_path / "raw", spec)
    with pytest.raises(ConfigError, match="1, 2 or 3"):
        replace(spec, options={"list": 4})


def test_a_list_is_decisive_and_no_file_of_a_clip(tmp_path, spec):
    root = tmp_path / "raw"
    clip(root, "Archery", 8, 1)
    lists(tmp_path / "ucfTrainTestlist", ["Archery/v_Archery_g08_c01.avi"], [])
    (source,) = ucf101.sources(root, spec)
    assert source.files == (source.name,)
    before = ucf101.decisive(root, spec)
    assert before["testlist01.txt"] == hashlib.sha256(b"").hexdigest()
    lists(tmp_path / "ucfTrainTestlist", [], ["Archery/v_Archery_g08_c01.avi"])
    assert ucf101.decisive(root, spec).keys() == before.keys()
    assert not set(ucf101.decisive(root, spec).values()) & {before["trainlist01.txt"]}
    (episode,) = ucf101.read(root, source, spec)
    assert episode.split == "test"
    # Lists that come to lie below the root are those that count, for the next who asks.
    lists(root, ["Archery/v_Archery_g08_c01.avi"], [])
    assert ucf101.decisive(root, spec) == before
    (episode,) = ucf101.read(root, source, spec)
    assert episode.split == "train"
