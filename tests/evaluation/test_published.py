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


def test_each_reconstruction_of_c1_has_a_protocol_of_its_own():
    tables = [t for t in published_tables().values() if t.protocol and "reconstruction" in t.protocol]
    assert len(tables) == 8
    assert [[row["method"] for row in table.rows] for table in tables] == [["MOSO-VQVAE"]] * 8
    assert published_for("kth/reconstruction_128")["kth_reconstruction_128"].rows[0]["psnr"] == 36.1


def test_a_table_without_a_protocol_says_how_ours_is_made():
    without = {name: table for name, table in published_tables().items() if table.protocol is None}
    assert set(without) == {"kth_64_cost", "decomposition_kth", "decomposition_ucf101", "adversarial", "codebook"}
    assert all(any("`m" in note for note in table.notes) for table in without.values())
