from pathlib import Path

import pandas as pd
import pytest

from moso.datasets.episode import Rejected
from moso.datasets.quarantine import check_share, write_quarantine
from moso.errors import DataError


def test_the_limit_itself_is_tolerated_and_one_more_is_not() -> None:
    bad = [Rejected("a.npz", 0, "the file is empty"), Rejected("b.npz", 7, "broken"), Rejected("c.npz", 7, "broken")]
    check_share(bad[:1], 99, 0.01)
    with pytest.raises(DataError, match="2 of 100 records are bad"):
        check_share(bad[:2], 98, 0.01)
    with pytest.raises(DataError, match=r"75.0%, tolerated: 1.0%\): 2 x broken; 1 x the file is empty.*a.npz, b.npz"):
        check_share(bad, 1, 0.01)


def test_a_limit_of_zero_tolerates_none_and_good_data_always_passes() -> None:
    check_share([], 0, 0.0)
    check_share([], 5, 0.0)
    with pytest.raises(DataError):
        check_share([Rejected("a", 0, "r")], 10**6, 0.0)


def test_the_table_holds_file_offset_reason_and_source_even_when_empty(tmp_path: Path) -> None:
    write_quarantine([Rejected("a.npz", 12, "broken")], tmp_path / "q.parquet")
    assert pd.read_parquet(tmp_path / "q.parquet").to_dict("records") == [
        {"file": "a.npz", "offset": 12, "reason": "broken", "source": ""}
    ]
    write_quarantine([], tmp_path / "q.parquet")
    assert list(pd.read_parquet(tmp_path / "q.parquet").columns) == ["file", "offset", "reason", "source"]
