"""What is new, on small tables."""

import pandas as pd
import pytest

from moso.datasets.manifest import Manifest, Row
from moso.errors import DataError
from moso.retraining.news import new_episodes, new_files


def _row(name: str, split: str = "train", sha256: str = "") -> Row:
    return Row(
        episode_id=name, split=split, recording=name, source=f"{name}.npz", sha256=sha256 or name, signals_sha256="",
        frames=9, height=8, width=8, fps=10.0, actions=0,
    )  # fmt: skip


LAST = Manifest.empty().append([_row("a"), _row("b", "test")])


def test_the_episodes_of_a_later_version_are_new_in_their_order():
    now = LAST.append([_row("d"), _row("c", "test")])
    found = new_episodes(now, LAST)
    assert list(found["episode_id"]) == ["d", "c"]
    assert list(found["added_in"]) == [2, 2]


def test_of_the_same_manifest_nothing_is_new():
    assert new_episodes(LAST, LAST).empty


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([_row("a")], "b is gone"),
        ([_row("a", sha256="other"), _row("b", "test")], "a has other content"),
        ([_row("a", "test"), _row("b", "test")], "another split"),
    ],
)
def test_a_manifest_that_did_not_grow_is_refused(rows, said):
    with pytest.raises(DataError, match=said):
        new_episodes(Manifest.empty().append(rows), LAST)


def test_files_are_new_by_name_or_size_and_bad_ones_that_were_read_are_not():
    known = pd.DataFrame([("a", "a.npz", 5), ("bad", "bad.npz", 1)], columns=["source", "file", "bytes"])
    rows = [("a", "a.npz", 5), ("bad", "bad.npz", 1), ("c", "c.npz", 5), ("a", "a.json", 2)]
    found = pd.DataFrame(rows, columns=["source", "file", "bytes"])
    assert list(new_files(found, known)["file"]) == ["c.npz", "a.json"]
    grown = found.assign(bytes=[6, 1, 5, 2])
    assert list(new_files(grown, known)["file"]) == ["a.npz", "c.npz", "a.json"]
