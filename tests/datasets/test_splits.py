import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moso.datasets.episode import Episode
from moso.datasets.spec import DatasetSpec, ListSpec, SplitSpec
from moso.datasets.splits import Splits
from moso.errors import DataError


def episode(recording: str, split: str | None = None) -> Episode:
    return Episode.of(
        f"{recording}/cam0", "a", np.zeros((1, 2, 2, 3), np.uint8), 10.0, recording=recording, split=split
    )


@pytest.mark.parametrize(
    ("episode_id", "split"),
    [
        ("seed_000000", "train"),
        ("seed_000099", "train"),
        ("seed_000100", "validation"),
        ("seed_000199", "validation"),
        ("seed_000200", "test"),
        ("robot2_run_299", "test"),
    ],
)
def test_the_split_follows_from_the_number_that_the_id_ends_in(episode_id: str, split: str, spec: DatasetSpec) -> None:
    assert Splits.of(spec).split_of(episode(episode_id)) == split


@pytest.mark.parametrize(("episode_id", "said"), [("seed_000300", "no split"), ("run_b", "number"), ("7_x", "number")])
def test_an_id_without_a_split_is_an_error_not_a_guess(episode_id: str, said: str, spec: DatasetSpec) -> None:
    with pytest.raises(DataError, match=said):
        Splits.of(spec).split_of(episode(episode_id))


def test_patterns_are_asked_test_first_then_validation_then_train(spec: DatasetSpec) -> None:
    rule = SplitSpec("patterns", train="", validation="person1[56]_", test="person(1[6-9]|2)")
    splits = Splits.of(replace(spec, splits=rule))
    found = [splits.split_of(episode(f"person{n:02d}_boxing_d1")) for n in (1, 15, 16, 17, 25)]
    assert found == ["train", "validation", "test", "test", "test"]
    narrow = Splits.of(replace(spec, splits=SplitSpec("patterns", train="^a")))
    with pytest.raises(DataError, match="lies in no split"):
        narrow.split_of(episode("b"))


def test_a_hash_gives_each_recording_one_split_whatever_else_is_there_and_about_the_shares(spec: DatasetSpec) -> None:
    rule = SplitSpec("hash", seed=3, validation_share=0.1, test_share=0.2)
    splits = Splits.of(replace(spec, splits=rule))
    # worked out by hand: the first eight bytes of sha256("3:r7") as a share of 2^64
    place = int(hashlib.sha256(b"3:r7").hexdigest()[:16], 16) / 2**64
    assert splits.split_of(episode("r7")) == ("test" if place < 0.2 else "validation" if place < 0.3 else "train")
    found = [splits.split_of(episode(f"r{i}")) for i in range(3000)]
    assert abs(found.count("test") / 3000 - 0.2) < 0.03
    assert abs(found.count("validation") / 3000 - 0.1) < 0.03


@pytest.fixture
def listed(spec: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DatasetSpec, Path]:
    """A spec with a list of two recordings, and where the list must lie; it is not there yet."""
    monkeypatch.setenv("MOSO_LISTS", str(tmp_path))
    text = "site_robot_traj1.hdf5 1\nFolder/Other_traj9.hdf5\n"
    published = ListSpec(
        "test.txt", "https://example.org/test.txt", 2, hashlib.sha256(text.encode()).hexdigest(), "test"
    )
    rule = SplitSpec("lists", validation_share=0.5, test_share=0.25)
    return replace(spec, splits=rule, lists=(published,)), tmp_path / "test.txt"


def test_a_list_decides_and_what_it_does_not_name_is_training_with_a_share_for_validation(
    listed: tuple[DatasetSpec, Path],
) -> None:
    spec, path = listed
    path.write_text("site_robot_traj1.hdf5 1\nFolder/Other_traj9.hdf5\n")
    splits = Splits.of(spec)
    assert splits.split_of(episode("hdf5/site_robot_traj1")) == "test"
    assert splits.split_of(episode("other_traj9.hdf5")) == "test"  # compared without folder, suffix and case
    rest = [splits.split_of(episode(f"x_{i}")) for i in range(400)]
    assert set(rest) == {"train", "validation"}
    assert abs(rest.count("validation") / 400 - 0.5) < 0.1
    assert splits.label["lists"] == {"test.txt": spec.lists[0].sha256}
    assert splits.label["substitute"] is False


def test_where_a_list_cannot_be_had_a_hash_stands_in_and_says_so(listed: tuple[DatasetSpec, Path]) -> None:
    spec, path = listed
    splits = Splits.of(spec)
    assert splits.label["substitute"] is True
    assert splits.label["lists"] == {}
    found = [splits.split_of(episode(f"x_{i}")) for i in range(2000)]
    assert abs(found.count("test") / 2000 - 0.25) < 0.04
    path.write_text("something else\n")
    with pytest.raises(DataError, match=r"test\.txt"):
        Splits.of(spec)


def test_a_recorded_split_is_taken_and_a_missing_one_is_an_error(spec: DatasetSpec) -> None:
    splits = Splits.of(replace(spec, splits=SplitSpec("recorded")))
    assert [splits.split_of(episode("a", s)) for s in ("train", "validation", "test")] == [
        "train",
        "validation",
        "test",
    ]
    with pytest.raises(DataError, match="names no split"):
        splits.split_of(episode("a"))
