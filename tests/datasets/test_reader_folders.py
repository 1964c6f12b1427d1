"""The readers of folders of videos and of images, against files that PyAV and Pillow wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moso.datasets.episode import Episode, Rejected
from moso.datasets.ingest import ingest
from moso.datasets.readers import Reader, images, videos
from moso.datasets.spec import DatasetSpec, SplitSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError, DataError

pytest.importorskip("av")
fmt = pytest.importorskip("formats.loose_files")
SPECS = Path(__file__).parents[2] / "data" / "specs"
RECORDED = SplitSpec("recorded")


@pytest.fixture
def of_videos() -> DatasetSpec:
    return DatasetSpec.load(SPECS / "videos.yaml")


@pytest.fixture
def of_images() -> DatasetSpec:
    return DatasetSpec.load(SPECS / "images.yaml")


def records(reader: Reader, root: Path, spec: DatasetSpec, wanted: set[str] | None = None) -> list[Episode | Rejected]:
    return [record for source in reader.sources(root, spec) for record in reader.read(root, source, spec, wanted)]


def clip(root: Path, name: str, count: int = 11, suffix: str = ".png", pattern: str = "frame{}", step: int = 1) -> Any:
    frames = fmt.coloured(count, seed=sum(map(ord, name)))
    for t, frame in enumerate(frames):
        fmt.png(root / name / f"{pattern.format(t * step)}{suffix}", frame)
    return frames


def test_every_video_below_the_root_is_its_frames(tmp_path, of_videos):
    one = fmt.coloured(7, seed=1)
    two = fmt.coloured(9, 20, 32, seed=2)
    fmt.video(tmp_path / "kitchen" / "take 10.avi", one, 12.5, codec="huffyuv")
    fmt.video(tmp_path / "kitchen" / "take 2.MKV", two, 30, codec="ffv1")
    fmt.video(tmp_path / "lossy.mp4", one, 10, codec="libx264", crf="1")
    (tmp_path / "kitchen" / "._take 2.MKV").write_bytes(b"what a Mac leaves")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a.mp4").write_bytes(b"and this")
    (tmp_path / "notes.txt").write_text("no video")
    lossy, second, tenth = records(videos, tmp_path, of_videos)
    assert [e.episode_id for e in (lossy, second, tenth)] == ["lossy.mp4", "kitchen/take 2.MKV", "kitchen/take 10.avi"]
    assert [round(e.fps, 2) for e in (lossy, second, tenth)] == [10, 30, 12.5]
    np.testing.assert_array_equal(tenth.load(), one)
    np.testing.assert_array_equal(second.load(), two)
    error = np.abs(lossy.load().astype(int)[:, None] - one[None]).mean(axis=(2, 3, 4))
    assert (error.argmin(axis=1) == np.arange(7)).all()
    assert error.diagonal().max() < 8  # 4:2:0 keeps a quarter of the colours
    assert [e.episode_id for e in records(videos, tmp_path, of_videos, {"lossy.mp4"})] == ["lossy.mp4"]


def test_bad_videos_among_good_ones_are_set_aside(tmp_path, of_videos):
    good = fmt.coloured(7)
    for name in ("good.avi", "cut.avi", "empty.avi", "text.mp4", "a@b.avi"):
        fmt.video(tmp_path / name, good, codec="huffyuv") if name.endswith("avi") else None
    data = (tmp_path / "cut.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.avi").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    coded = bytearray(fmt.video(tmp_path / "damaged.mp4", fmt.coloured(20, 64, 64), codec="libx264").read_bytes())
    start = coded.index(b"mdat") + 800
    coded[start : start + 400] = bytes(400)
    (tmp_path / "damaged.mp4").write_bytes(coded)
    found = ingest(tmp_path, videos.sources(tmp_path, of_videos), of_videos)
    assert list(found.manifest.table["episode_id"]) == ["good.avi"]
    assert found.manifest.table["sha256"][0] == hashlib.sha256(good.tobytes()).hexdigest()
    reasons = {r.file: r.reason for r in found.rejected}
    assert set(reasons) == {"cut.avi", "empty.avi", "text.mp4", "damaged.mp4", "a@b.avi"}
    assert "cut off" in reasons["cut.avi"]
    assert reasons["empty.avi"] == "the file is empty"
    assert "cannot be read as a video" in reasons["text.mp4"]
    assert "without '@'" in reasons["a@b.avi"]
    assert all(str(tmp_path) not in reason and "\n" not in reason for reason in reasons.values())


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_every_folder_of_images_is_a_clip_in_natural_order(tmp_path, of_images, suffix):
    one = clip(tmp_path, "kitchen/take1", suffix=suffix)
    two = clip(tmp_path, "take2", 3, suffix.upper(), "{:03d}")
    (tmp_path / "take2" / "readme.txt").write_text("no image")
    first, second = records(images, tmp_path, of_images)
    assert [e.episode_id for e in (first, second)] == ["kitchen/take1", "take2"]
    assert first.fps == 10
    np.testing.assert_array_equal(first.load(), one)
    assert max(len(chunk) for chunk in first.chunks()) <= 8
    np.testing.assert_array_equal(second.load(), two)
    assert [e.episode_id for e in records(images, tmp_path, of_images, {"take2"})] == ["take2"]


def test_jpegs_are_read_as_pillow_decodes_them(tmp_path, of_images):
    from PIL import Image

    clip(tmp_path, "a", 4, ".jpg")
    (episode,) = records(images, tmp_path, of_images)
    expected = np.stack([np.asarray(Image.open(tmp_path / "a" / f"frame{t}.jpg")) for t in range(4)])
    np.testing.assert_array_equal(episode.load(), expected)


def test_bad_clips_among_good_ones_are_set_aside_naming_the_file(tmp_path, of_images):
    for name in ("good", "gap", "twice", "nameless", "cut", "size"):
        clip(tmp_path, name)
    (tmp_path / "gap" / "frame7.png").unlink()
    fmt.png(tmp_path / "twice" / "frame07.png", fmt.coloured(1)[0])
    (tmp_path / "nameless" / "frame7.png").rename(tmp_path / "nameless" / "seven.png")
    data = (tmp_path / "cut" / "frame9.png").read_bytes()
    (tmp_path / "cut" / "frame9.png").write_bytes(data[: len(data) // 2])
    fmt.png(tmp_path / "size" / "frame10.png", np.zeros((16, 25, 3), np.uint8))
    found = ingest(tmp_path, images.sources(tmp_path, of_images), of_images)
    assert list(found.manifest.table["episode_id"]) == ["good"]
    reasons = {r.file: r.reason for r in found.rejected}
    assert "frame 7 is missing" in reasons["gap"]
    assert "the same number" in reasons["twice"]
    assert "seven.png: no number" in reasons["nameless"]
    assert "cut/frame9.png: cannot be read as an image" in reasons["cut"]
    assert "frame10.png: 16 x 25 pixels" in reasons["size"]


def test_every_fifth_frame_is_no_gap_where_the_spec_says_so(tmp_path, of_images):
    frames = clip(tmp_path, "a", 4, step=5)
    (refused,) = records(images, tmp_path, of_images)
    assert "frame 1 is missing" in refused.reason
    (episode,) = records(images, tmp_path, replace(of_images, options={"step": 5}))
    np.testing.assert_array_equal(episode.load(), frames)


def write_video(root: Path, name: str) -> None:
    fmt.video(root / name, fmt.coloured(3, seed=ord(name[0])), codec="huffyuv")


def write_clip(root: Path, name: str) -> None:
    clip(root, name, 3)


@pytest.mark.parametrize(
    ("reader", "write", "spec", "suffix"),
    [(videos, write_video, "videos", ".avi"), (images, write_clip, "images", "")],
    ids=["videos", "images"],
)
def test_a_splits_csv_says_what_is_for_what(
    tmp_path: Path, reader: Reader, write: Callable[[Path, str], None], spec: str, suffix: str
) -> None:
    hashed = DatasetSpec.load(SPECS / f"{spec}.yaml")
    recorded = replace(hashed, splits=RECORDED)
    for name in "abcd":
        write(tmp_path, f"{name}{suffix}")
    splits = Splits.of(hashed)
    by_hash = [splits.split_of(e) for e in records(reader, tmp_path, hashed)]  # type: ignore[arg-type]
    assert len(by_hash) == 4

    with pytest.raises(DataError, match=r"splits\.csv: no such file.*rule: hash"):
        reader.sources(tmp_path, recorded)
    rows = [f"{n}{suffix},{s}" for n, s in zip("acbx", ("train", "validation", "test", "test"), strict=True)]
    (tmp_path / "splits.csv").write_text("\ufeffpath,split\n" + "\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"rule: recorded"):
        reader.sources(tmp_path, hashed)
    found = ingest(tmp_path, reader.sources(tmp_path, recorded), recorded)
    table = found.manifest.table
    assert {k[0]: v for k, v in zip(table["episode_id"], table["split"], strict=True)} == {
        "a": "train",
        "b": "test",
        "c": "validation",
    }
    reasons = {r.file[0]: r.reason for r in found.rejected}
    assert set(reasons) == {"d", "x"}
    assert "names no split" in reasons["d"]
    assert "missing" in reasons["x"] or "no such folder" in reasons["x"]

    for content, message in (
        ("path,split\na,training\n", "line 2: split 'training'"),
        ("path,split\na,test\na,train\n", "line 3: a a second time"),
        ("file,part\na,test\n", "expected path and split"),
    ):
        (tmp_path / "splits.csv").write_text(content)
        with pytest.raises(DataError, match=message):
            reader.sources(tmp_path, recorded)


def test_folders_without_what_is_read_say_so(tmp_path, of_videos, of_images):
    with pytest.raises(DataError, match="no video below it"):
        videos.sources(tmp_path, of_videos)
    with pytest.raises(DataError, match="no folder with images"):
        images.sources(tmp_path, of_images)
    fmt.png(tmp_path / "1.png", fmt.coloured(1)[0])
    with pytest.raises(DataError, match="give each clip a folder"):
        images.sources(tmp_path, of_images)
    for spec in (of_videos, of_images):
        with pytest.raises(ConfigError, match="suffixes"):
            replace(spec, options={"suffixes": ["mp4"]})
    with pytest.raises(ConfigError, match="step"):
        replace(of_images, options={"step": 0})


def test_a_link_that_leads_round_in_a_circle_is_followed_once(tmp_path, of_images):
    clip(tmp_path, "a", 3)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [s.name for s in images.sources(tmp_path, of_images)] == ["a"]


@pytest.mark.parametrize("name", ["../secret.avi", "/etc/secret.avi", "a/../../secret.avi", "C:\\secret.avi", ""])
def test_a_name_in_splits_csv_that_leads_out_of_the_root_is_refused_with_its_line(tmp_path, of_videos, name):
    root = tmp_path / "raw"
    fmt.video(root / "a.avi", fmt.coloured(4), codec="huffyuv")
    fmt.video(tmp_path / "secret.avi", fmt.coloured(4), codec="huffyuv")
    (root / "splits.csv").write_text(f'path,split\na.avi,train\n"{name}",test\n')
    recorded = replace(of_videos, splits=SplitSpec("recorded"))
    with pytest.raises(DataError, match=r"splits\.csv, line 3: .* expected a path below the root"):
        videos.sources(root, recorded)


def test_a_further_line_of_splits_csv_changes_what_is_decisive_and_no_recording(tmp_path, of_videos, of_images):
    for reader, spec, names in ((videos, of_videos, ("a.avi", "b.avi")), (images, of_images, ("a", "b"))):
        root = tmp_path / spec.format
        for name in names:
            if reader is videos:
                fmt.video(root / name, fmt.coloured(4), codec="huffyuv")
            else:
                clip(root, name, 4)
        assert reader.decisive(root, spec) == {"splits.csv": None}
        recorded = replace(spec, splits=SplitSpec("recorded"))
        told = []
        for lines in ([f"{names[0]},train"], [f"{names[0]},train", f"{names[1]},test"]):
            (root / "splits.csv").write_text("\n".join(["path,split", *lines]) + "\n")
            told.append(reader.decisive(root, recorded))
        content = (root / "splits.csv").read_bytes()
        assert told[1] == {"splits.csv": hashlib.sha256(content).hexdigest()} != told[0]
        assert [source.files[0].split("/")[0] for source in reader.sources(root, recorded)] == list(names)
        assert not any("splits.csv" in source.files for source in reader.sources(root, recorded))
        assert [record.split for record in records(reader, root, recorded)] == ["train", "test"]
