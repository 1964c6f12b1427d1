"""Published rows: as printed, and what our source lacks is said."""

import pytest

from moso.config import build
from moso.errors import ConfigError
from moso.evaluation.protocol_file import protocol_names
from moso.evaluation.published import PublishedTable, published_for, published_tables


def test_every_table_names_a_protocol_that_exists_or_none():
    assert {t.protocol for t in published_tables().values()} - {None} <= set(protocol_names())


def test_tables_that_the_source_lost_have_no_rows_and_say_so():
    for name in ("kitti_64", "kitti_256", "kth_128", "ucf101_prediction", "ucf101_unconditional"):
        assert published_tables()[name].rows == ()
        assert published_tables()[name].not_in_source


def test_magvits_figure_is_in_no_table_of_mosos_bair_protocol():
    methods = [row["method"] for table in published_for("bair/64").values() for row in table.rows]
    assert len(methods) == 14
    assert "MAGVIT" not in methods


def test_an_empty_table_that_does_not_say_what_is_missing_is_refused():
    with pytest.raises(ConfigError, match="not_in_source"):
        build(PublishedTable, {"title": "t", "metrics": ["fvd"], "rows": []})
