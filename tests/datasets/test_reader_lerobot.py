"""The LeRobot reader against data sets written by tests/datasets/formats/lerobot.py, which uses nothing of moso's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moso.datasets.episode import Episode, Rejected
from moso.datasets.readers import lerobot
from moso.datasets.spec import DatasetSpec, SignalSpec, SourceSpec, SplitSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError, DataError

fmt = pytest.importorskip("formats.lerobot")

TOP, WRIST, DEPTH = fmt.TOP, fmt.WRIST, fmt.DEPTH
FOUR = {
    "data_files": [[0, 1, 2], [3]],
    "video_files": {TOP: [[0], [1, 2], [3]], WRIST: [[0, 1], [2, 3]]},
}
HASH = SplitSpec("hash", validation_share=0.25, test_share=0.25)


def spec_of(fps: float = 10.0, splits: SplitSpec = HASH, **options: Any) -> DatasetSpec:
    return DatasetSpec("arm", "lerobot", SourceSpec("folder"), fps, splits, options=options)


def read_all(root: Path, spec: DatasetSpec, wanted: Sequence[str] | None = None) -> list[Episode | Rejected]:
    """What ingest would see: an episode whose stream fails is a Rejected too."""
    found: list[Episode | Rejected] = []
    for source in lerobot.sources(root, spec):
        for record in lerobot.read(root, source, spec, wanted):
            if isinstance(record, Episode):
                try:
                    record.load()
                except DataError as error:
                    record = Rejected(record.source, record.offset, f"{record.episode_id}: {error}")
            found.append(record)
    return found


def good(records: list[Episode | Rejected]) -> dict[str, Episode]:
    return {record.episode_id: record for record in records if isinstance(record, Episode)}


def reasons(records: list[Episode | Rejected]) -> list[str]:
    return [record.reason for record in records if isinstance(record, Rejected)]


def assert_all_read(recorded: Any, records: list[Episode | Rejected], cameras: Sequence[str]) -> None:
    """Every frame, action and state read equals the one written, and there is nothing else."""
    assert reasons(records) == []
    episodes = good(records)
    assert list(episodes) == [record.episode_id for record in records]
    assert set(episodes) == {f"episode_{e:06d}/{c}" for e in range(len(recorded.lengths)) for c in cameras}
    for camera in cameras:
        for number in range(len(recorded.lengths)):
            episode = episodes[f"episode_{number:06d}/{camera}"]
            assert episode.recording == f"episode_{number:06d}"
            assert np.array_equal(episode.load(), recorded.frames[camera, number])
            assert episode.actions is not None
            assert episode.states is not None
            assert np.array_equal(episode.actions, recorded.actions[number])
            assert np.array_equal(episode.states, recorded.states[number])


# Every frame, over several files and cameras


def test_v3_frames_are_those_written_with_video_files_cut_elsewhere_than_data_files(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", **FOUR)
    assert_all_read(recorded, read_all(tmp_path, spec_of(cameras="all")), [TOP, WRIST])


def test_v2_frames_are_those_written(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v2.1", chunks_size=3)
    assert recorded.data_file[3].startswith("data/chunk-001/")
    assert_all_read(recorded, read_all(tmp_path, spec_of(cameras="all")), [TOP, WRIST])


def test_hidden_metadata_files_are_no_data_and_links_to_folders_are_followed(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", **FOUR)
    meta = tmp_path / "meta" / "episodes" / "chunk-000"
    (meta / "._file-000.parquet").write_bytes(b"what a Mac leaves")
    meta.rename(tmp_path / "moved")
    meta.symlink_to(tmp_path / "moved")
    assert_all_read(recorded, read_all(tmp_path, spec_of(cameras="all")), [TOP, WRIST])


@pytest.mark.parametrize("codec", ["h264", "h264_b_frames", "av1"])
def test_lossy_codecs_give_each_frame_its_own_picture(codec: str, tmp_path: Path) -> None:
    lengths = (7, 9, 8)
    side = {"side": 64}
    frames = {
        (c, e): np.stack([fmt.picture(i, e, t, **side) for t in range(lengths[e])])
        for i, c in enumerate((TOP, WRIST))
        for e in range(3)
    }
    cut = {TOP: [[0, 1], [2]], WRIST: [[0, 1, 2]]}
    fmt.write(tmp_path, "v3.0", lengths=lengths, codec=codec, video_files=cut, frames=frames, fps=30)
    episodes = good(read_all(tmp_path, spec_of(30.0, cameras="all")))
    assert len(episodes) == 6
    for i, camera in enumerate((TOP, WRIST)):
        for number, length in enumerate(lengths):
            shown = [fmt.number_of(frame) for frame in episodes[f"episode_{number:06d}/{camera}"].load()]
            assert shown == [(i, number, t) for t in range(length)]


def test_every_path_comes_from_the_templates(tmp_path: Path) -> None:
    recorded = fmt.write(
        tmp_path,
        "v3.0",
        data_path="tables/{chunk_index:02d}-{file_index}.parquet",
        video_path="films/{file_index:04d}/{chunk_index}/{video_key}.mov.mp4",
        **FOUR,
    )
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "videos").exists()
    assert_all_read(recorded, read_all(tmp_path, spec_of(cameras="all")), [TOP, WRIST])


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("channels_first", [False, True])
def test_pictures_in_the_parquet_are_read_height_first_and_channels_first(
    version: str, channels_first: bool, tmp_path: Path
) -> None:
    wide = {
        (c, e): np.random.default_rng([i, e]).integers(0, 256, (n, 12, 20, 3), dtype=np.uint8)
        for i, c in enumerate((TOP, WRIST))
        for e, n in enumerate((5, 9, 4))
    }
    recorded = fmt.write(
        tmp_path, version, lengths=(5, 9, 4), images=[TOP, WRIST], channels_first=channels_first, frames=wide
    )
    assert_all_read(recorded, read_all(tmp_path, spec_of(cameras="all")), [TOP, WRIST])


def test_depth_language_and_other_columns_are_left_alone(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", depth=True, language=True, **FOUR)
    assert_all_read(recorded, read_all(tmp_path, spec_of(cameras="all")), [TOP, WRIST])
    with pytest.raises(ConfigError, match="is a depth stream"):
        lerobot.sources(tmp_path, spec_of(cameras=[DEPTH]))


def test_frames_of_a_fraction_a_second_and_long_episodes_keep_their_times(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", lengths=(90, 61), fps=29.97, cameras=[TOP])
    assert_all_read(recorded, read_all(tmp_path, spec_of(29.97)), [TOP])


def test_rounding_of_the_time_stamp_s_type_is_no_drift() -> None:
    """A float32 near 4,000 s moves in steps of 2.4e-4, more than the tolerance."""
    from moso.datasets.readers.lerobot_video import check_timestamps

    exact = np.arange(120_000) / 30
    stamps = exact.astype(np.float32)
    off = np.abs(stamps.astype(np.float64) - exact)
    assert off.max() > 1e-4
    check_timestamps(stamps.astype(np.float64), 1e-4 + np.spacing(stamps).astype(np.float64), 30.0)
    with pytest.raises(DataError, match="a drift in the data file"):
        check_timestamps(stamps.astype(np.float64), np.full(len(stamps), 1e-4), 30.0)


# Which episodes and cameras


def test_the_first_camera_is_the_default_and_any_can_be_named(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", depth=True, **FOUR)
    assert_all_read(recorded, read_all(tmp_path, spec_of()), [TOP])
    assert_all_read(recorded, read_all(tmp_path, spec_of(cameras=[WRIST])), [WRIST])
    with pytest.raises(ConfigError, match=rf"'left'.*no camera of this data set; it has {TOP}, {WRIST}"):
        lerobot.sources(tmp_path, spec_of(cameras=["left"]))


def test_episodes_are_excluded_by_list_by_the_set_s_own_list_and_by_a_column(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", cameras=[TOP], extra={"quality": ["good", "bad", "good", "good"]})

    def left(**options: Any) -> list[int]:
        records = read_all(tmp_path, spec_of(**options))
        assert reasons(records) == []
        return [int(episode.recording[-6:]) for episode in good(records).values()]

    assert left(exclude_episodes=[0, 2]) == [1, 3]
    assert left(exclude_where={"quality": "bad"}) == [0, 2, 3]
    assert left(exclude_where={"quality": ["bad", "good"]}) == []
    assert left(exclude_where={"tasks": "Push the block."}) == []
    # a column of the data files: episode 1 is the one in which no frame has it
    assert left(exclude_where={"next.success": False}) == [0, 2, 3]
    recorded.info(exclude_episodes=[3])
    assert left() == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"'qualty'.*no column of this data set"):
        lerobot.sources(tmp_path, spec_of(exclude_where={"qualty": "bad"}))


def test_only_wanted_episodes_are_read_and_files_without_one_are_not_opened(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", **FOUR)
    (tmp_path / recorded.data_file[0]).write_bytes(b"")
    wanted = [f"episode_000003/{WRIST}"]
    records = read_all(tmp_path, spec_of(cameras="all"), wanted)
    assert [record.episode_id for record in records if isinstance(record, Episode)] == wanted
    assert reasons(records) == []


def test_a_source_names_the_files_of_its_own_episodes_alone(tmp_path: Path) -> None:
    fmt.write(tmp_path, "v3.0", **FOUR)
    first, second = lerobot.sources(tmp_path, spec_of(cameras="all"))
    videos = {
        "videos/observation.images.top/chunk-001/file-000.mp4",
        "videos/observation.images.top/chunk-001/file-002.mp4",
        "videos/observation.images.wrist/chunk-002/file-001.mp4",
        "videos/observation.images.wrist/chunk-002/file-003.mp4",
    }
    meta = ["meta/episodes/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-001.parquet"]
    assert (first.name, set(first.files)) == ("data/chunk-000/file-000.parquet", {first.name, *videos, *meta})
    last = {
        "videos/observation.images.top/chunk-001/file-004.mp4",
        "videos/observation.images.wrist/chunk-002/file-003.mp4",
    }
    assert (second.name, set(second.files)) == ("data/chunk-000/file-001.parquet", {second.name, *last, meta[1]})


def test_signals_have_the_names_that_are_asked_for(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", cameras=[TOP])
    swapped = good(read_all(tmp_path, spec_of(action_key="observation.state", state_key=None)))
    for number, episode in enumerate(swapped.values()):
        assert episode.actions is not None
        assert np.array_equal(episode.actions, recorded.states[number])
        assert episode.states is None
    with pytest.raises(ConfigError, match=r"options.action_key = 'actoin'"):
        lerobot.sources(tmp_path, spec_of(action_key="actoin"))
    names = SignalSpec(("x", "y"), "absolute", "joint", ("m", "m"))
    spec = DatasetSpec("arm", "lerobot", SourceSpec("folder"), 10.0, HASH, actions=names)
    with pytest.raises(ConfigError, match="action has 3 dimensions"):
        lerobot.sources(tmp_path, spec)


def test_cameras_of_an_episode_fall_into_one_split_and_recorded_splits_are_the_set_s(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", lengths=(2,) * 12)
    splits = Splits.of(spec_of())
    by_recording: dict[str, set[str]] = {}
    for episode in good(read_all(tmp_path, spec_of(cameras="all"))).values():
        by_recording.setdefault(episode.recording, set()).add(splits.split_of(episode))
    assert all(len(found) == 1 for found in by_recording.values())
    assert {split for found in by_recording.values() for split in found} > {"train"}
    recorded.info(splits={"train": "0:8", "val": "8:10", "test": "10:12"})
    kept = [episode.split for episode in good(read_all(tmp_path, spec_of())).values()]
    assert kept == ["train"] * 8 + ["validation"] * 2 + ["test"] * 2


# What no such data set is


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"codebase_version": "v1.6"}, "codebase_version 'v1.6' is not read here"),
        ({"codebase_version": None}, "has no 'codebase_version'"),
        ({"fps": 0}, "fps 0.0 is no rate"),
        ({"fps": 12}, "says 12 frames a second, the spec 10"),
        ({"features": {"action": {"dtype": "float32", "shape": [3]}}}, "names no camera"),
        ({"data_path": "../{file_index}.parquet"}, "cannot be followed: .* has a part '..'"),
        ({"data_path": "/{file_index}.parquet"}, "cannot be followed: .* is an absolute path"),
        ({"data_path": "{episode_chunk}.parquet"}, "asks for episode_chunk"),
        ({"data_path": "{file_index.__class__}.parquet"}, "cannot be understood"),
        ({"splits": {"train": "all"}}, "is no range"),
        ({"features": {TOP: {"dtype": "video", "shape": ["tall", 32, 3]}}}, "invalid literal"),
        ({"features": {TOP: {"dtype": "video", "shape": [32, 32, 3], "info": ["av1"]}}}, "has no attribute"),
    ],
)
def test_a_set_of_another_kind_is_refused_with_what_is_wrong(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    fmt.write(tmp_path, "v3.0", lengths=(3,), cameras=[TOP]).info(**changes)
    with pytest.raises(DataError, match=said):
        lerobot.sources(tmp_path, spec_of())


def test_a_folder_without_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no meta/info.json in it"):
        lerobot.sources(tmp_path, spec_of())
    fmt.write(tmp_path, "v3.0", lengths=(3,), cameras=[TOP])
    shutil.rmtree(tmp_path / "meta" / "episodes")
    with pytest.raises(DataError, match=r"says v3.0, but meta/episodes/\*/\*.parquet names no episode"):
        lerobot.sources(tmp_path, spec_of())
    (tmp_path / "meta" / "info.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        lerobot.sources(tmp_path, spec_of())


def test_options_that_mean_nothing_are_refused() -> None:
    for options in ({"cameras": "top"}, {"cameras": []}, {"cameras": [TOP, TOP]}, {"tolerance_s": -1.0}):
        with pytest.raises(ConfigError):
            spec_of(**options)


def test_a_tolerance_of_half_a_frame_is_refused(tmp_path: Path) -> None:
    fmt.write(tmp_path, "v3.0", lengths=(3,), cameras=[TOP])
    with pytest.raises(ConfigError, match=r"must be below half a frame, 0.05 s"):
        lerobot.sources(tmp_path, spec_of(tolerance_s=0.05))


# Damage: the bad episode is set aside with its reason, the others are read


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    """Four episodes in two data files; the wrist's second file holds episodes 2 and 3, of 6 and 3 frames."""
    return fmt.write(tmp_path, "v3.0", **FOUR)


def refilm(
    recorded: Any, camera: str, episodes: Sequence[int], change: Callable[[list[Any], list[float]], Any]
) -> None:
    """Write a video file again, after `change` worked on its frames and time stamps."""
    frames = [frame for e in episodes for frame in recorded.frames[camera, e]]
    stamps = [i / recorded.fps for i in range(len(frames))]
    change(frames, stamps)
    fmt.write_video(recorded.root / recorded.video_file[camera, episodes[0]], frames, stamps, recorded.fps)


def only_bad(recorded: Any, bad: dict[str, str]) -> None:
    """The episodes `bad` are rejected, each with its reason; every other one is read as it was written."""
    records = read_all(recorded.root, spec_of(cameras="all"))
    found = {reason.split(": ", 1)[0]: reason for reason in reasons(records)}
    assert set(found) == set(bad), found
    for episode_id, said in bad.items():
        assert said in found[episode_id]
        assert "\n" not in found[episode_id]
    episodes = good(records)
    for camera in recorded.cameras:
        for number in range(len(recorded.lengths)):
            episode_id = f"episode_{number:06d}/{camera}"
            if episode_id not in bad:
                assert np.array_equal(episodes[episode_id].load(), recorded.frames[camera, number])


def test_a_gap_in_a_video_is_told_with_camera_frame_and_both_times(recorded: Any) -> None:
    def lose_one(frames: list[Any], stamps: list[float]) -> None:
        del frames[3], stamps[3]

    refilm(recorded, WRIST, [2, 3], lose_one)
    said = f"camera {WRIST}, frame 3: a gap in the video: a frame at 0.400000 s, expected one at 0.300000 s"
    only_bad(recorded, {f"episode_000002/{WRIST}": said})


def test_a_gap_at_an_episode_s_end_does_not_take_the_next_one_s_first_frame(recorded: Any) -> None:
    def lose_last(frames: list[Any], stamps: list[float]) -> None:
        del frames[5], stamps[5]

    refilm(recorded, WRIST, [2, 3], lose_last)
    said = "frame 5: wrong number of frames: 5 of 6 are in videos/observation.images.wrist/chunk-002/file-003.mp4"
    only_bad(recorded, {f"episode_000002/{WRIST}": said})


def test_a_lost_first_frame_does_not_shift_the_others(recorded: Any) -> None:
    def lose_first(frames: list[Any], stamps: list[float]) -> None:
        del frames[0], stamps[0]

    refilm(recorded, WRIST, [2, 3], lose_first)
    said = "frame 0: a gap in the video: a frame at 0.100000 s, expected one at 0.000000 s"
    only_bad(recorded, {f"episode_000002/{WRIST}": said})


def test_a_duplicate_in_a_video_is_told(recorded: Any) -> None:
    def twice(frames: list[Any], stamps: list[float]) -> None:
        frames.insert(7, frames[6])
        stamps.insert(7, 0.62)

    refilm(recorded, WRIST, [2, 3], twice)
    said = "frame 1: a duplicate in the video: a frame at 0.620000 s, expected one at 0.700000 s"
    only_bad(recorded, {f"episode_000003/{WRIST}": said})


def test_a_drift_in_a_video_is_told_at_the_first_frame_beyond_the_tolerance(recorded: Any) -> None:
    def drift(frames: list[Any], stamps: list[float]) -> None:
        stamps[:] = [stamp * 1.0005 for stamp in stamps]  # 0.1 ms off after 0.2 s

    refilm(recorded, WRIST, [2, 3], drift)
    bad = {
        f"episode_000002/{WRIST}": "frame 3: a drift in the video: a frame at 0.300144 s, expected one at 0.300000 s",
        f"episode_000003/{WRIST}": "frame 0: a drift in the video: a frame at 0.600300 s, expected one at 0.600000 s",
    }
    only_bad(recorded, bad)
    records = read_all(recorded.root, spec_of(cameras="all", tolerance_s=1e-3))
    assert_all_read(recorded, records, [TOP, WRIST])


def test_stamps_of_the_data_file_that_gap_repeat_or_drift_are_told(recorded: Any) -> None:
    def spoil(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            key = row["episode_index"], row["frame_index"]
            row["timestamp"] = {(0, 2): 0.35, (1, 2): 0.1, (2, 4): 0.402}.get(key, row["timestamp"])

    fmt.change_table(recorded.root / recorded.data_file[0], spoil)
    bad = {}
    for camera in (TOP, WRIST):
        bad[f"episode_000000/{camera}"] = "frame 2: a gap in the data file: time stamp 0.350000 s, expected 0.200000 s"
        bad[f"episode_000001/{camera}"] = "frame 2: a duplicate in the data file: time stamp 0.100000 s, expected 0.2"
        bad[f"episode_000002/{camera}"] = "frame 4: a drift in the data file: time stamp 0.402000 s, expected 0.400000"
    only_bad(recorded, bad)


def test_a_row_that_is_missing_from_the_data_file_is_told(recorded: Any) -> None:
    def lose(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if (row["episode_index"], row["frame_index"]) != (1, 2)]

    fmt.change_table(recorded.root / recorded.data_file[0], lose)
    said = "3 rows in the data file, 4 frames in the metadata"
    only_bad(recorded, {f"episode_000001/{camera}": said for camera in (TOP, WRIST)})


def test_rows_numbered_with_a_gap_are_told(recorded: Any) -> None:
    def renumber(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["episode_index"] == 1 and row["frame_index"] >= 2:
                row["frame_index"] += 1

    fmt.change_table(recorded.root / recorded.data_file[0], renumber)
    said = "frame 2: a gap in the data file: frame_index is 3, expected 2"
    only_bad(recorded, {f"episode_000001/{camera}": said for camera in (TOP, WRIST)})


def test_frames_with_another_index_in_the_set_than_the_metadata_say_are_told(recorded: Any) -> None:
    def shift(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["index"] += row["episode_index"] == 1

    fmt.change_table(recorded.root / recorded.data_file[0], shift)
    said = "its first frame has index 6, dataset_from_index is 5"
    only_bad(recorded, {f"episode_000001/{camera}": said for camera in (TOP, WRIST)})


def test_a_missing_video_file_takes_its_own_episodes_and_camera_alone(recorded: Any) -> None:
    (recorded.root / recorded.video_file[TOP, 1]).unlink()
    said = f"camera {TOP}: videos/observation.images.top/chunk-001/file-002.mp4 is missing"
    only_bad(recorded, {f"episode_{e:06d}/{TOP}": said for e in (1, 2)})


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_off_video_file_is_told(share: float, recorded: Any) -> None:
    path = recorded.root / recorded.video_file[WRIST, 0]
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    records = read_all(recorded.root, spec_of(cameras="all"))
    assert len(reasons(records)) == 2
    assert all("chunk-002/file-001.mp4" in reason for reason in reasons(records))
    assert len(good(records)) == 6


def test_bytes_of_a_video_that_are_damaged_give_no_wrong_frame(recorded: Any) -> None:
    path = recorded.root / recorded.video_file[WRIST, 0]
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 4, len(data) // 2, 97):
        data[place] ^= 0xFF
    path.write_bytes(data)
    records = read_all(recorded.root, spec_of(cameras="all"))
    assert 1 <= len(reasons(records)) <= 2
    for episode_id, episode in good(records).items():
        camera, number = episode_id.split("/")[1], int(episode.recording[-6:])
        assert np.array_equal(episode.load(), recorded.frames[camera, number])


def test_a_camera_that_the_metadata_do_not_place_is_told(recorded: Any) -> None:
    path = recorded.root / fmt.EPISODES_V3.format(chunk_index=0, file_index=0)

    def lose(rows: list[dict[str, Any]]) -> None:
        rows[1][f"videos/{WRIST}/file_index"] = None

    fmt.change_table(path, lose)
    said = f"camera {WRIST} is missing: videos/{WRIST}/file_index is None"
    only_bad(recorded, {f"episode_000001/{WRIST}": said})


def test_a_part_of_a_video_of_another_length_than_the_episode_is_told(recorded: Any) -> None:
    path = recorded.root / fmt.EPISODES_V3.format(chunk_index=0, file_index=0)

    def lengthen(rows: list[dict[str, Any]]) -> None:
        rows[0][f"videos/{WRIST}/to_timestamp"] += 0.2

    fmt.change_table(path, lengthen)
    said = "wrong number of frames: 5 in the data file, the video's part from 0.000000 to 0.700000 s has 7.0"
    only_bad(recorded, {f"episode_000000/{WRIST}": said})


@pytest.mark.parametrize(("frames", "said"), [(4, "4 of 5 are in videos/"), (6, "one more at 0.500000 s")])
def test_v2_videos_with_another_number_of_frames_are_told(frames: int, said: str, tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v2.1")
    longer = np.concatenate([recorded.frames[TOP, 0], recorded.frames[TOP, 1]])[:frames]
    fmt.write_video(tmp_path / recorded.video_file[TOP, 0], longer, np.arange(frames) / 10, 10)
    only_bad(recorded, {f"episode_000000/{TOP}": said})


def test_frames_of_another_size_than_declared_are_told(recorded: Any) -> None:
    small = [fmt.picture(0, 3, t, side=16) for t in range(3)]
    fmt.write_video(recorded.root / recorded.video_file[TOP, 3], small, np.arange(3) / 10, 10)
    only_bad(recorded, {f"episode_000003/{TOP}": "16 x 16 pixels, info.json declares 32 x 32"})


def test_a_data_file_that_is_missing_or_damaged_takes_its_own_episodes_alone(recorded: Any) -> None:
    ids = [f"episode_000003/{camera}" for camera in (TOP, WRIST)]
    path = recorded.root / recorded.data_file[3]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    only_bad(recorded, dict.fromkeys(ids, "cannot be read as parquet"))
    path.write_bytes(b"")
    only_bad(recorded, dict.fromkeys(ids, "the file is empty"))
    path.unlink()
    only_bad(recorded, dict.fromkeys(ids, "the file is missing"))


def test_signals_of_another_dimension_or_with_nan_are_told(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v2.1")

    def lengthen(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["observation.state"] = [*row["observation.state"], 1.0]

    def spoil(rows: list[dict[str, Any]]) -> None:
        rows[1]["observation.state"] = [float("nan"), 0.0]

    fmt.change_table(tmp_path / recorded.data_file[2], lengthen)
    fmt.change_table(tmp_path / recorded.data_file[1], spoil)
    bad = {}
    for camera in (TOP, WRIST):
        bad[f"episode_000002/{camera}"] = "observation.state has 3 dimensions, info.json declares 2"
        bad[f"episode_000001/{camera}"] = "states hold numbers that are not finite"
    only_bad(recorded, bad)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[: len(data) // 2], "frame 2: cannot be read as an image"),
        (lambda data: b"", "frame 2: no picture"),
        (lambda data: b"GIF89a", "frame 2: cannot be read as an image"),
        (lambda data: fmt.png(np.zeros((8, 8, 3), np.uint8)), "frame 2: 8 x 8 pixels, expected 32 x 32"),
    ],
)
def test_a_damaged_picture_in_the_parquet_takes_its_own_episode_and_camera_alone(
    damage: Callable[[bytes], bytes], said: str, tmp_path: Path
) -> None:
    recorded = fmt.write(tmp_path, "v3.0", images=[TOP, WRIST])

    def spoil(rows: list[dict[str, Any]]) -> None:
        (row,) = (row for row in rows if (row["episode_index"], row["frame_index"]) == (1, 2))
        row[WRIST] = {**row[WRIST], "bytes": damage(row[WRIST]["bytes"])}

    fmt.change_table(tmp_path / recorded.data_file[1], spoil)
    only_bad(recorded, {f"episode_000001/{WRIST}": said})


def test_episodes_that_the_metadata_miss_are_reported(recorded: Any) -> None:
    path = recorded.root / fmt.EPISODES_V3.format(chunk_index=0, file_index=1)
    path.write_bytes(path.read_bytes()[:100])
    records = read_all(recorded.root, spec_of(cameras="all"))
    assert {episode.recording for episode in good(records).values()} == {"episode_000000", "episode_000001"}
    said = reasons(records)
    assert len(said) == 3
    assert "cannot be read as parquet" in said[0]
    assert said[1:] == [f"episode {e} of 4 is named by no metadata file" for e in (2, 3)]


def test_a_damaged_number_of_episodes_is_neither_a_hang_nor_absurd_memory(recorded: Any) -> None:
    recorded.info(total_episodes=10**15)
    records = read_all(recorded.root, spec_of(cameras=[TOP]))
    assert len(good(records)) == 4
    assert len(reasons(records)) == 100_000


def test_a_broken_line_of_v2_metadata_is_reported(tmp_path: Path) -> None:
    fmt.write(tmp_path, "v2.1", cameras=[TOP])
    path = tmp_path / "meta" / "episodes.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:20], *lines[2:], lines[3]]))
    records = read_all(tmp_path, spec_of())
    assert [episode.recording[-1] for episode in good(records).values()] == ["0", "2", "3"]
    rejected = [record for record in records if isinstance(record, Rejected)]
    assert [(r.file, r.offset) for r in rejected] == [
        ("meta/episodes.jsonl", 2),
        ("meta/episodes.jsonl", 5),
        ("meta/info.json", 1),
    ]
    assert "line 2 cannot be read" in rejected[0].reason
    assert "episode 3 is listed twice" in rejected[1].reason


def test_what_info_json_says_for_all_episodes_is_decisive(tmp_path: Path) -> None:
    recorded = fmt.write(tmp_path, "v3.0", **FOUR)
    recorded.info(exclude_episodes=[2, 0], splits={"train": "0:3", "test": "3:4"})
    assert lerobot.decisive(tmp_path, spec_of()) == {"exclude_episodes": [0, 2], "fps": 10.0}
    told = lerobot.decisive(tmp_path, spec_of(splits=SplitSpec("recorded")))
    assert told == {"exclude_episodes": [0, 2], "fps": 10.0, "splits": {"test": [3, 4], "train": [0, 3]}}
    recorded.info(total_episodes=5)  # a further one changes none of it
    assert lerobot.decisive(tmp_path, spec_of(splits=SplitSpec("recorded"))) == told
