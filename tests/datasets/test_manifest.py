from pathlib import Path

import pandas as pd
import pytest

from moso.datasets.manifest import Manifest, Row
from moso.errors import DataError, FormatError


def row(number: int, split: str = "train", sha256: str | None = None) -> Row:
    return Row(
        episode_id=f"e_{number}",
        split=split,
        recording=f"e_{number}",
        source=f"{number}.npz",
        sha256=sha256 or f"{number:064x}",
        signals_sha256="",
        frames=30,
        height=64,
        width=48,
        fps=10.0,
        actions=3,
    )


def test_appending_keeps_old_rows_unchanged_and_first_and_counts_versions() -> None:
    one = Manifest.empty().append([row(1), row(2, "test")])
    two = one.append([row(0)])
    assert (Manifest.empty().version, one.version, two.version) == (0, 1, 2)
    pd.testing.assert_frame_equal(two.table.head(2), one.table)
    assert list(two.table["episode_id"]) == ["e_1", "e_2", "e_0"]
    assert list(two.table["added_in"]) == [1, 1, 2]
    assert two.append([]).version == 2


def test_a_manifest_survives_the_way_to_parquet_and_back(tmp_path: Path) -> None:
    manifest = Manifest.empty().append([row(1), row(2)]).append([row(3, "test")])
    manifest.write(tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(Manifest.read(tmp_path / "m.parquet").table, manifest.table)
    contract = "episode_id split recording source sha256 signals_sha256 frames height width fps actions added_in"
    assert list(pd.read_parquet(tmp_path / "m.parquet").columns) == contract.split()


def test_an_empty_manifest_can_be_written_and_read(tmp_path: Path) -> None:
    Manifest.empty().write(tmp_path / "m.parquet")
    assert Manifest.read(tmp_path / "m.parquet").version == 0


def test_equal_manifests_have_equal_bytes_however_their_tables_were_made(tmp_path: Path) -> None:
    manifest = Manifest.empty().append([row(1), row(2)])
    manifest.write(tmp_path / "a.parquet")
    Manifest(Manifest.read(tmp_path / "a.parquet").table.iloc[::-1].iloc[::-1]).write(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_another_table_is_no_manifest(tmp_path: Path) -> None:
    pd.DataFrame({"episode_id": ["a"]}).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(FormatError, match="columns"):
        Manifest.read(tmp_path / "m.parquet")


def test_an_id_twice_fails_within_a_version_and_across_versions() -> None:
    with pytest.raises(DataError, match=r"'e_1' occurs 2 times"):
        Manifest.empty().append([row(1), row(1)])
    with pytest.raises(DataError, match=r"'e_1' occurs 2 times"):
        Manifest.empty().append([row(1)]).append([row(1, "test")])


def test_the_same_frames_in_two_splits_fail_and_both_episodes_are_named() -> None:
    with pytest.raises(DataError, match=r"e_1 \(train\), e_2 \(test\)"):
        Manifest.empty().append([row(1, sha256="f" * 64)]).append([row(2, "test", sha256="f" * 64)])


def test_the_same_frames_twice_in_one_split_are_counted() -> None:
    manifest = Manifest.empty().append([row(1), row(2, sha256=row(1)["sha256"]), row(3, "test")])
    assert manifest.counts() == {
        "episodes": {"test": 1, "train": 2},
        "frames": {"test": 30, "train": 60},
        "duplicates": {"test": 0, "train": 1},
    }
