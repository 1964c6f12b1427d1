"""The KITTI reader against drives of PNGs that Pillow wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moso.datasets.episode import Episode
from moso.datasets.ingest import ingest
from moso.datasets.readers import kitti
from moso.datasets.spec import DatasetSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError, DataError

pytest.importorskip("av")
fmt = pytest.importorskip("formats.loose_files")
SPECS = Path(__file__).parents[2] / "data" / "specs"


@pytest.fixture
def spec() -> DatasetSpec:
    return DatasetSpec.load(SPECS / "kitti.yaml")


def drive(root: Path, number: int, camera: str = "image_03", frames: int = 11, date: str = "2011_09_26") -> np.ndarray:
    pixels = fmt.coloured(frames, 12, 40, seed=number + len(camera) * int(camera[-1]))
    for t, frame in enumerate(pixels):
        fmt.png(root / date / f"{date}_drive_{number:04d}_sync" / camera / "data" / f"{t:010d}.png", frame)
    return pixels


def image(root: Path, number: int, frame: int) -> Path:
    return root / f"2011_09_26/2011_09_26_drive_{number:04d}_sync/image_03/data/{frame:010d}.png"


def episodes(root: Path, spec: DatasetSpec, wanted: set[str] | None = None) -> dict[str, Episode]:
    found = [record for s in kitti.sources(root, spec) for record in kitti.read(root, s, spec, wanted)]
    assert all(isinstance(record, Episode) for record in found)
    return {record.episode_id: record for record in found}


def test_every_frame_of_a_drive_is_its_png_also_below_category_folders(tmp_path, spec):
    flat = drive(tmp_path, 1)
    city = drive(tmp_path / "city" / "2011_09_26_drive_0104_sync", 104)
    drive(tmp_path, 1, camera="image_02")
    drive(tmp_path / "campus", 7)
    (tmp_path / "2011_09_26" / "calib_cam_to_cam.txt").write_text("not read")
    found = episodes(tmp_path, spec)
    assert list(found) == ["2011_09_26_drive_0001/image_03", "2011_09_26_drive_0104/image_03"]
    for episode, expected in zip(found.values(), (flat, city), strict=True):
        chunks = list(episode.chunks())
        assert max(len(chunk) for chunk in chunks) <= 8
        np.testing.assert_array_equal(np.concatenate(chunks), expected)
        assert episode.fps == 10
    assert list(episodes(tmp_path, spec, {"2011_09_26_drive_0104/image_03"})) == ["2011_09_26_drive_0104/image_03"]


def test_cameras_of_a_drive_share_its_recording_and_drives_can_be_left_out(tmp_path, spec):
    left, right = drive(tmp_path, 5, camera="image_02"), drive(tmp_path, 5)
    drive(tmp_path, 6)
    both = replace(spec, options={"cameras": ["image_02", "image_03"], "leave_out": ["2011_09_26_drive_0006"]})
    found = episodes(tmp_path, both)
    assert list(found) == ["2011_09_26_drive_0005/image_02", "2011_09_26_drive_0005/image_03"]
    assert {e.recording for e in found.values()} == {"2011_09_26_drive_0005"}
    for episode, expected in zip(found.values(), (left, right), strict=True):
        np.testing.assert_array_equal(episode.load(), expected)


def test_drives_are_split_as_prednet_does(tmp_path, spec):
    for number in (1, 5, 70, 79, 104):
        drive(tmp_path, number, frames=2)
    drive(tmp_path, 5, frames=2, date="2011_09_28")  # another drive of that number
    splits = Splits.of(spec)
    assert {e.recording[8:]: splits.split_of(e) for e in episodes(tmp_path, spec).values()} == {
        "26_drive_0001": "train",
        "26_drive_0005": "validation",
        "26_drive_0070": "test",
        "26_drive_0079": "test",
        "26_drive_0104": "test",
        "28_drive_0005": "train",
    }


def test_a_bad_drive_is_set_aside_naming_the_file_and_the_others_are_read(tmp_path, spec):
    for number in range(1, 8):
        drive(tmp_path, number)
    image(tmp_path, 2, 4).unlink()
    whole = image(tmp_path, 3, 9).read_bytes()
    image(tmp_path, 3, 9).write_bytes(whole[: len(whole) // 2])
    image(tmp_path, 4, 1).write_bytes(b"")
    fmt.png(image(tmp_path, 5, 10), np.zeros((12, 41, 3), np.uint8))
    for t in range(11):
        image(tmp_path, 6, t).unlink()
    image(tmp_path, 7, 3).rename(image(tmp_path, 7, 3).with_name("third.png"))
    found = ingest(tmp_path, kitti.sources(tmp_path, spec), spec)
    assert list(found.manifest.table["episode_id"]) == ["2011_09_26_drive_0001/image_03"]
    reasons = {r.file.split("_sync")[0][-1]: r.reason for r in found.rejected}
    assert set(reasons) == set("234567")
    assert "0000000004.png is missing" in reasons["2"]
    assert "0000000009.png: cannot be read as an image" in reasons["3"]
    assert "0000000001.png: cannot be read as an image" in reasons["4"]
    assert "0000000010.png: 12 x 41 pixels" in reasons["5"]
    assert reasons["6"] == "no image in its folder data"
    assert "third.png: no number of a frame" in reasons["7"]
    assert all(str(tmp_path) not in reason for reason in reasons.values())


def test_a_flipped_bit_of_a_png_is_found(tmp_path, spec):
    drive(tmp_path, 1)
    data = bytearray(image(tmp_path, 1, 2).read_bytes())
    data[data.index(b"IDAT") + 40] ^= 16
    image(tmp_path, 1, 2).write_bytes(bytes(data))
    (episode,) = episodes(tmp_path, spec).values()
    with pytest.raises(DataError, match=r"0000000002\.png"):
        episode.load()


def test_a_folder_that_is_no_kitti_says_what_is_missing(tmp_path, spec):
    drive(tmp_path, 1, camera="image_02")
    with pytest.raises(DataError, match="_sync/image_03/data below it"):
        kitti.sources(tmp_path, spec)
    with pytest.raises(ConfigError, match="image_00, image_01"):
        replace(spec, options={"cameras": ["left"]})
