"""The BAIR reader against files of tests/datasets/formats/bair.py, which frames records and codes protobuf by hand."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.ingest import ingest, read_source
from moso.datasets.quarantine import check_share
from moso.datasets.readers import bair
from moso.datasets.spec import DatasetSpec, SourceSpec, SplitSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError, DataError

fmt = pytest.importorskip("formats.bair")

ROOT = Path(__file__).parents[2]
SMALL = {"frames": 6, "height": 8, "width": 12}
TRAIN, TEST = "softmotion30_44k/train", "softmotion30_44k/test"


@pytest.fixture
def spec() -> DatasetSpec:
    splits = SplitSpec("patterns", train="^train/", validation="^train/traj_3_to_5/", test="^test/")
    options = {"height": SMALL["height"], "width": SMALL["width"]}
    return DatasetSpec("bair", "bair", SourceSpec("folder"), 10.0, splits, options=options, episode_frames=6)


def small(seed: int, **changes: Any) -> Any:
    return fmt.trajectory(seed, **(SMALL | changes))


def read(root: Path, spec: DatasetSpec, name: str, wanted: set[str] | None = None) -> list[Episode | Rejected]:
    return list(bair.read(root, Source(name), spec, wanted))


def episodes(records: list[Episode | Rejected]) -> list[Episode]:
    return [record for record in records if isinstance(record, Episode)]


def rejected(records: list[Episode | Rejected]) -> list[Rejected]:
    return [record for record in records if isinstance(record, Rejected)]


def test_a_file_of_the_official_size_is_read_by_the_shipped_spec(tmp_path: Path) -> None:
    """741,610 bytes a record is what the published files have: the writer's bytes are theirs in kind."""
    shipped = DatasetSpec.load(ROOT / "data" / "specs" / "bair.yaml")
    written = [fmt.trajectory(seed) for seed in range(2)]
    starts = fmt.write(tmp_path / TEST / "traj_0_to_1.tfrecords", written)
    assert starts[1] == 741_610
    (source,) = bair.sources(tmp_path, shipped)
    for number, (episode, trajectory) in enumerate(zip(bair.read(tmp_path, source, shipped), written, strict=True)):
        assert isinstance(episode, Episode)
        assert (episode.episode_id, episode.recording) == (f"test/traj_0_to_1/{number:05d}",) * 2
        assert episode.offset == starts[number]
        np.testing.assert_array_equal(episode.load(), trajectory.views["image_aux1"])
        np.testing.assert_array_equal(episode.actions, trajectory.actions)
        np.testing.assert_array_equal(episode.states, trajectory.positions)
        assert Splits.of(shipped).split_of(episode) == "test"


def test_the_checksum_is_crc32c_masked_as_tensorflow_masks_it() -> None:
    """CRC-32C of "123456789" is 0xE3069283 (RFC 3720's polynomial); rotated by 15: 0x2507C60D; + 0xA282EAD8."""
    assert struct.unpack("<I", fmt.masked(b"123456789"))[0] == (0x2507C60D + 0xA282EAD8)


def test_sources_go_by_folder_and_number_and_not_by_letter(tmp_path: Path, spec: DatasetSpec) -> None:
    for name in ("train/traj_1000_to_1255", "train/traj_256_to_511", "test/traj_0_to_255"):
        fmt.write(tmp_path / f"{name}.tfrecords", [])
    (tmp_path / "train" / "notes.txt").write_text("no record")
    fmt.write(tmp_path / "__MACOSX" / "train" / "traj_512_to_767.tfrecords", [])
    fmt.write(tmp_path / "train" / ".traj_512_to_767" / "traj_512_to_767.tfrecords", [])
    names = [source.name for source in bair.sources(tmp_path, spec)]
    assert names == [
        "test/traj_0_to_255.tfrecords",
        "train/traj_256_to_511.tfrecords",
        "train/traj_1000_to_1255.tfrecords",
    ]


def test_a_folder_without_records_is_refused_with_what_to_unpack(tmp_path: Path, spec: DatasetSpec) -> None:
    with pytest.raises(DataError, match=r"no traj_<first>_to_<last>.tfrecords .*bair_robot_pushing_dataset_v0.tar"):
        bair.sources(tmp_path, spec)


def test_the_splits_are_the_test_folder_and_savps_validation_file(tmp_path: Path, spec: DatasetSpec) -> None:
    shipped = Splits.of(DatasetSpec.load(ROOT / "data" / "specs" / "bair.yaml"))
    found = {}
    for folder, name in ((TRAIN, "traj_0_to_255"), (TRAIN, "traj_256_to_511"), (TEST, "traj_0_to_255")):
        fmt.write(tmp_path / folder / f"{name}.tfrecords", [small(len(found))])
        (episode,) = episodes(read(tmp_path, spec, f"{folder}/{name}.tfrecords"))
        found[episode.episode_id] = shipped.split_of(episode)
    assert found == {
        "train/traj_0_to_255/00000": "train",
        "train/traj_256_to_511/00000": "validation",
        "test/traj_0_to_255/00000": "test",
    }


@pytest.mark.parametrize("view", ["image_main", "image_aux1", "image_view0"])
def test_the_view_is_chosen(tmp_path: Path, spec: DatasetSpec, view: str) -> None:
    written = small(0, views=("image_main", "image_aux1", "image_view0"))
    fmt.write(tmp_path / "train" / "traj_0_to_0.tfrecords", [written])
    chosen = DatasetSpec("b", "bair", spec.source, 10.0, spec.splits, options=spec.options | {"view": view})
    (episode,) = episodes(read(tmp_path, chosen, "train/traj_0_to_0.tfrecords"))
    np.testing.assert_array_equal(episode.load(), written.views[view])


def test_a_missing_view_is_named_beside_those_that_are_there(tmp_path: Path, spec: DatasetSpec) -> None:
    fmt.write(tmp_path / "train" / "traj_0_to_0.tfrecords", [small(0, views=("image_view0", "image_main"))])
    (bad,) = rejected(read(tmp_path, spec, "train/traj_0_to_0.tfrecords"))
    assert bad.reason == "record 0: no frames of the view 'image_aux1'; it holds image_main, image_view0"


@pytest.mark.parametrize("at", ["first byte of the data", "last byte of the data", "checksum"])
def test_broken_data_costs_its_own_record_alone(tmp_path: Path, spec: DatasetSpec, at: str) -> None:
    path = tmp_path / "train" / "traj_0_to_2.tfrecords"
    written = [small(seed) for seed in range(3)]
    starts = fmt.write(path, written)
    fmt.flip(
        path, {"first byte of the data": starts[1] + 12, "last byte of the data": starts[2] - 5}.get(at, starts[2] - 1)
    )
    records = read(tmp_path, spec, "train/traj_0_to_2.tfrecords")
    assert rejected(records) == [
        Rejected("train/traj_0_to_2.tfrecords", starts[1], "the checksum of record 1's data is broken")
    ]
    assert [episode.episode_id[-5:] for episode in episodes(records)] == ["00000", "00002"]
    np.testing.assert_array_equal(episodes(records)[1].load(), written[2].views["image_aux1"])


@pytest.mark.parametrize("byte", [0, 7, 8], ids=["length", "length's high byte", "checksum"])
def test_a_broken_length_gives_up_what_follows_and_counts_it(tmp_path: Path, spec: DatasetSpec, byte: int) -> None:
    """Five records, the third one's length broken: two good ones, and three rows in the quarantine, not one."""
    path = tmp_path / "train" / "traj_10_to_14.tfrecords"
    starts = fmt.write(path, [small(seed) for seed in range(5)])
    fmt.flip(path, starts[2] + byte)
    records = read(tmp_path, spec, "train/traj_10_to_14.tfrecords")
    assert [episode.episode_id[-5:] for episode in episodes(records)] == ["00000", "00001"]
    assert [bad.offset for bad in rejected(records)] == [starts[2]] * 3
    assert [bad.reason for bad in rejected(records)] == [
        "the checksum of record 2's length is broken: what follows cannot be told apart",
        "record 3 of 5 is lost: it lies behind record 2, whose length has a broken checksum",
        "record 4 of 5 is lost: it lies behind record 2, whose length has a broken checksum",
    ]
    with pytest.raises(DataError, match="3 of 5 records are bad"):
        check_share(rejected(records), len(episodes(records)), 0.5)


def test_a_broken_first_length_costs_as_many_records_as_the_files_name_promises(
    tmp_path: Path, spec: DatasetSpec
) -> None:
    path = tmp_path / "train" / "traj_256_to_511.tfrecords"
    fmt.write(path, [small(0), small(1)])
    fmt.flip(path, 3)
    records = read(tmp_path, spec, "train/traj_256_to_511.tfrecords")
    assert len(rejected(records)) == len(records) == 256


@pytest.mark.parametrize("kept", [1, 11, 12, 500, -1], ids=["in the length", "header", "no data", "data", "last byte"])
def test_a_truncated_file_gives_the_whole_records_before_and_a_row_for_each_that_is_gone(
    tmp_path: Path, spec: DatasetSpec, kept: int
) -> None:
    path = tmp_path / "train" / "traj_5_to_10.tfrecords"
    starts = fmt.write(path, [small(seed) for seed in range(6)])
    size = starts[2] + kept if kept > 0 else starts[3] - 1
    path.write_bytes(path.read_bytes()[:size])
    records = read(tmp_path, spec, "train/traj_5_to_10.tfrecords")
    assert [episode.episode_id[-5:] for episode in episodes(records)] == ["00000", "00001"]
    cut, *gone = rejected(records)
    assert cut.offset == starts[2]
    assert "cut off in" in cut.reason
    assert gone == [
        Rejected("train/traj_5_to_10.tfrecords", size, f"record {i} of 6 is lost: the file ends at byte {size:,}")
        for i in (3, 4, 5)
    ]


def test_a_file_that_ends_exactly_behind_a_record_lacks_what_its_name_promises(
    tmp_path: Path, spec: DatasetSpec
) -> None:
    path = tmp_path / "train" / "traj_0_to_4.tfrecords"
    starts = fmt.write(path, [small(seed) for seed in range(5)])
    path.write_bytes(path.read_bytes()[: starts[3]])
    records = read(tmp_path, spec, "train/traj_0_to_4.tfrecords")
    assert len(episodes(records)) == 3
    reasons = [f"record {i} of 5 is lost: the file ends at byte {starts[3]:,}" for i in (3, 4)]
    assert rejected(records) == [Rejected("train/traj_0_to_4.tfrecords", starts[3], reason) for reason in reasons]
    # Where only some are wanted, only theirs is the damage.
    name = "train/traj_0_to_4/{:05d}"
    few = read(tmp_path, spec, "train/traj_0_to_4.tfrecords", {name.format(0), name.format(2)})
    assert [record.episode_id for record in episodes(few)] == [name.format(0), name.format(2)]
    assert not rejected(few)
    lost = read(tmp_path, spec, "train/traj_0_to_4.tfrecords", {name.format(1), name.format(4)})
    assert [record.episode_id for record in episodes(lost)] == [name.format(1)]
    assert [bad.reason for bad in rejected(lost)] == reasons[1:]


def test_a_files_name_that_promises_any_number_takes_no_time(tmp_path: Path, spec: DatasetSpec) -> None:
    fmt.write(tmp_path / "train" / "traj_0_to_99999999999999.tfrecords", [])
    records = read(tmp_path, spec, "train/traj_0_to_99999999999999.tfrecords")
    assert len(rejected(records)) == len(records) == 100_000


def test_more_records_than_the_files_name_promises_are_read(tmp_path: Path, spec: DatasetSpec) -> None:
    fmt.write(tmp_path / "train" / "traj_0_to_1.tfrecords", [small(seed) for seed in range(3)])
    assert len(episodes(read(tmp_path, spec, "train/traj_0_to_1.tfrecords"))) == 3


def test_an_absurd_length_with_a_right_checksum_takes_no_memory(tmp_path: Path, spec: DatasetSpec) -> None:
    path = tmp_path / "train" / "traj_0_to_255.tfrecords"
    fmt.write(path, [small(0)])
    length = struct.pack("<Q", 2**62)
    path.write_bytes(path.read_bytes() + length + fmt.masked(length) + b"few bytes")
    records = read(tmp_path, spec, "train/traj_0_to_255.tfrecords")
    assert len(episodes(records)) == 1
    assert "the file is cut off in record 1" in rejected(records)[0].reason


def test_a_file_of_zero_bytes_is_set_aside(tmp_path: Path, spec: DatasetSpec) -> None:
    fmt.write(tmp_path / "train" / "traj_0_to_255.tfrecords", [])
    records = read(tmp_path, spec, "train/traj_0_to_255.tfrecords")
    assert len(rejected(records)) == len(records) == 256
    assert rejected(records)[255].offset == 0
    assert rejected(records)[255].reason == "record 255 of 256 is lost: the file is empty"


def _without(keys: dict[str, bytes], *names: str) -> bytes:
    data: bytes = fmt.example({key: value for key, value in keys.items() if key not in names})
    return data


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda t: _without(t.keys, "3/image_aux1/encoded"), "the key '3/image_aux1/encoded' is missing"),
        (lambda t: _without(t.keys, "5/image_aux1/encoded"), "the key '5/image_aux1/encoded' is missing"),
        (lambda t: _without(t.keys, "0/action"), "the key '0/action' is missing"),
        (lambda t: _without(t.keys, "4/endeffector_pos"), "the key '4/endeffector_pos' is missing"),
        (
            lambda t: fmt.example(t.keys | {"2/image_aux1/encoded": fmt.bytes_feature(b"short")}),
            "'2/image_aux1/encoded' has 5 bytes, 8 x 12 RGB pixels have 288",
        ),
        (
            lambda t: fmt.example(t.keys | {"2/image_aux1/encoded": fmt.float_feature([1.0])}),
            "'2/image_aux1/encoded' holds 0 byte strings, expected one",
        ),
        (lambda t: fmt.example(t.keys | {"1/action": fmt.float_feature([1, 2])}), "'1/action' holds 2 numbers"),
        (lambda t: fmt.example(t.keys | {"1/action": fmt.float_feature([np.nan] * 4)}), "actions hold numbers that"),
        (lambda t: fmt.example({}), "no frames of the view 'image_aux1'; it holds no view"),
        (lambda t: b"\xff" * 40, "no tf.train.Example"),
        (lambda t: b"", "no frames of the view"),
    ],
)
def test_a_record_that_is_no_such_trajectory_is_set_aside(
    tmp_path: Path, spec: DatasetSpec, damage: Any, reason: str
) -> None:
    path = tmp_path / "train" / "traj_0_to_2.tfrecords"
    starts = fmt.write(path, [small(0), damage(small(1)), small(2)])
    records = read(tmp_path, spec, "train/traj_0_to_2.tfrecords")
    assert [episode.episode_id[-5:] for episode in episodes(records)] == ["00000", "00002"]
    (bad,) = rejected(records)
    assert bad.offset == starts[1]
    assert reason in bad.reason
    assert "\n" not in bad.reason


def test_a_trajectory_of_another_length_than_the_spec_says_is_set_aside_by_ingest_at_its_record(
    tmp_path: Path, spec: DatasetSpec
) -> None:
    starts = fmt.write(tmp_path / "train" / "traj_0_to_2.tfrecords", [small(0), small(9, frames=5), small(2)])
    name, rows, bad = read_source(tmp_path, spec, Splits.of(spec), Source("train/traj_0_to_2.tfrecords"))
    assert [row["episode_id"][-5:] for row in rows] == ["00000", "00002"]
    assert bad == [Rejected(name, starts[1], "train/traj_0_to_2/00001: 5 frames, the spec says 6", name)]


def test_frames_of_another_size_than_the_options_say_are_set_aside(tmp_path: Path, spec: DatasetSpec) -> None:
    fmt.write(tmp_path / "train" / "traj_0_to_0.tfrecords", [small(0, height=10)])
    (bad,) = rejected(read(tmp_path, spec, "train/traj_0_to_0.tfrecords"))
    assert bad.reason == "record 0: '0/image_aux1/encoded' has 360 bytes, 8 x 12 RGB pixels have 288"


def test_only_wanted_records_are_read_and_the_others_bytes_are_not_looked_at(tmp_path: Path, spec: DatasetSpec) -> None:
    """Broken data of records that are passed over, and a broken length behind the last wanted one, go unnoticed."""
    path = tmp_path / "train" / "traj_0_to_4.tfrecords"
    written = [small(seed) for seed in range(5)]
    starts = fmt.write(path, written)
    fmt.flip(path, starts[0] + 20)
    fmt.flip(path, starts[4])
    name = "train/traj_0_to_4/{:05d}"
    records = read(tmp_path, spec, "train/traj_0_to_4.tfrecords", {name.format(1), name.format(3), "test/other/00000"})
    assert [record.episode_id for record in episodes(records)] == [name.format(1), name.format(3)]
    assert not rejected(records)
    np.testing.assert_array_equal(episodes(records)[1].load(), written[3].views["image_aux1"])


def test_a_stream_can_be_opened_twice(tmp_path: Path, spec: DatasetSpec) -> None:
    fmt.write(tmp_path / "train" / "traj_0_to_0.tfrecords", [small(0)])
    (episode,) = episodes(read(tmp_path, spec, "train/traj_0_to_0.tfrecords"))
    np.testing.assert_array_equal(episode.load(), episode.load())


@pytest.mark.parametrize("options", [{"view": "a/b"}, {"height": 0}, {"camera": "image_main"}])
def test_options_that_mean_nothing_are_refused(spec: DatasetSpec, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        DatasetSpec("bair", "bair", spec.source, 10.0, spec.splits, options=options)


def test_ingest_sets_a_damaged_record_aside_and_goes_on(tmp_path: Path, spec: DatasetSpec) -> None:
    """Through the whole of `ingest`: every good record has its row with the frames' hash, the bad one its place."""
    written = {}
    for folder, file in (("train", "traj_0_to_2"), ("train", "traj_3_to_5"), ("test", "traj_0_to_2")):
        trajectories = [small(len(written) + seed) for seed in range(3)]
        starts = fmt.write(tmp_path / folder / f"{file}.tfrecords", trajectories)
        written |= {f"{folder}/{file}/{number:05d}": trajectory for number, trajectory in enumerate(trajectories)}
    fmt.flip(tmp_path / "train" / "traj_0_to_2.tfrecords", starts[1] + 100)
    result = ingest(tmp_path, bair.sources(tmp_path, spec), spec)
    table = result.manifest.table.set_index("episode_id")
    assert set(table.index) == set(written) - {"train/traj_0_to_2/00001"}
    assert dict(table["split"].value_counts()) == {"test": 3, "validation": 3, "train": 2}
    assert set(table["frames"]) == {6}
    (bad,) = result.rejected
    assert (bad.file, bad.offset) == ("train/traj_0_to_2.tfrecords", starts[1])
    assert bad.reason == "the checksum of record 1's data is broken"
    for name in table.index:
        expected = hashlib.sha256(written[name].views["image_aux1"].tobytes()).hexdigest()
        assert table.loc[name, "sha256"] == expected
