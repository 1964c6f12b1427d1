"""Published rows: as printed, and what our source lacks is said."""

import re
from pathlib import Path

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


# The source is not part of the repository: it lies beside it.
SOURCE = Path(__file__).parents[3] / "shared" / "paper" / "tables.md"
PASSAGES = {  # table -> what stands before and behind its figures in the source
    "bair_64": ("BAIR 64, 1 -> 15 (FVD): ", "RoboNet"),
    "robonet_64": ("(FVD / PSNR / SSIM / LPIPS): 64: ", " 256: "),
    "robonet_256": (". 256: ", "KTH"),
    "kth_64_ablations": ("ten times too large) ", "Tokens per clip"),
    "decomposition_kth": ("(Table 9;", "Adversarial weight"),
    "decomposition_ucf101": ("(Table 9;", "Adversarial weight"),
    "adversarial": ("(Table 10;", "Codebook"),
    "codebook": ("(Table 11;", "##"),
}
AS_PRINTED = {  # method -> how the source writes it
    "motion + content, f = (8, 4)": "motion+content f=(8,4)",
    "motion + content, f = (8, 2)": "(8,2)",
    "mo.sc.ob. + preprocessing": "+ preprocessing",
    "0.1 + 0.1": "0.1+0.1",
    "0.1 + 0.05": "0.1+0.05",
}
C1 = {  # table -> its column in Table C.1
    "ucf101_reconstruction": "UCF101 256",
    "bair_reconstruction": "BAIR 64",
    "kth_reconstruction_64": "KTH 64",
    "kth_reconstruction_128": "KTH 128",
    "robonet_reconstruction_64": "RoboNet 64",
    "robonet_reconstruction_256": "RoboNet 256",
    "kitti_reconstruction_64": "KITTI 64",
    "kitti_reconstruction_256": "KITTI 256",
}
ELSEWHERE = {"bair_magvit"}  # MAGVIT's own figure, which the paper's tables do not have
needs_source = pytest.mark.skipif(not SOURCE.is_file(), reason="shared/ is not here")


def flat() -> str:
    return " ".join(SOURCE.read_text().replace("**", "").split())


@needs_source
@pytest.mark.parametrize("name", PASSAGES)
def test_published_figures_are_those_of_our_source(name):
    table, (start, end) = published_tables()[name], PASSAGES[name]
    passage = flat().partition(start)[2].partition(end)[0]
    side = 1 if name == "decomposition_ucf101" else 0
    for row in table.rows:
        method = re.escape(AS_PRINTED.get(row["method"], row["method"]))
        (cells,) = re.findall(rf"(?:^|[ ;,]){method} ([\d./]+(?: \| [\d./]+)?)", passage)
        figures = [float(figure.strip(".")) for figure in cells.split(" | ")[side].split("/")]
        assert figures == [row[metric] for metric in table.metrics], row["method"]
    # and the source has no further row: as many figures as ours, of both data sets where they share a line
    count = len(re.findall(r"(?<=[ /])\d+\.\d+(?=[/,;. ]|$)(?! video)", passage))
    assert count == len(table.rows) * len(table.metrics) * (2 if name.startswith("decomposition") else 1)


@needs_source
@pytest.mark.parametrize("name", C1)
def test_reconstructions_are_those_of_table_c1(name):
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in SOURCE.read_text().splitlines()]
    columns = next(row for row in rows if "UCF101 256" in row)
    place = columns.index(C1[name])
    (ours,) = published_tables()[name].rows
    for metric in ("psnr", "ssim", "lpips"):
        (of_source,) = (row for row in rows if row[0] == f"reconstruction {metric.upper()}")
        assert float(of_source[place + len(of_source) - len(columns)]) == ours[metric]


@needs_source
def test_kths_row_and_the_tokens_of_table_7_are_those_of_our_source():
    (moso,) = published_tables()["kth_64"].rows
    assert f"MOSO PSNR {moso['psnr']}, SSIM {moso['ssim']}, LPIPS {moso['lpips']} " in flat()
    rows = published_tables()["kth_64_cost"].rows
    passage = flat().partition("(Table 7, KTH 64, T=20): ")[2]
    tokens, _, flops = passage.partition(". FLOPs (same unit) ")
    assert [int(number) for number in re.findall(r" (\d+)(?=[,;]|$)", tokens)] == [row["tokens"] for row in rows]
    assert [int(number) for number in flops.partition(".")[0].split(", ")] == [row["flops"] for row in rows]


def test_every_published_row_is_held_against_the_source():
    with_rows = {name for name, table in published_tables().items() if table.rows}
    assert with_rows == {*PASSAGES, *C1, *ELSEWHERE, "kth_64", "kth_64_cost"}
