"""The paper's layout: ours beside published rows of one protocol, blanks said."""

import dataclasses
import math

import pytest

from moso.errors import MismatchError
from moso.evaluation.benchmark_table import benchmark_table
from moso.evaluation.protocol_file import load_protocol


def test_ours_stands_beside_the_published_row_with_ssim_in_percent_and_blanks_are_said():
    missing = {"lpips_alex": "file alexnet-owt-7be5be79.pth missing"}
    table = benchmark_table(
        "kth/64", {"ours <1>": {"psnr": 24.16, "ssim": 0.751}}, load_protocol("kth/64"), not_computed=missing
    )
    assert table.frame["origin"].tolist() == ["published", "ours"]
    assert table.frame["ssim"].tolist() == pytest.approx([82.2, 75.1])
    assert math.isnan(table.frame["lpips"][1])
    assert "| ours <1> | ours | 24.2 | 75.1 |  |" in table.markdown
    assert "lpips_alex not computed: file alexnet-owt-7be5be79.pth missing." in table.markdown
    assert "<td>ours &lt;1&gt;</td>" in table.html


def test_lpips_of_another_backbone_never_fills_the_column():
    table = benchmark_table("kth/64", {"m": {"lpips_vgg": 0.3}}, load_protocol("kth/64"))
    assert math.isnan(table.frame["lpips"][1])


def test_a_table_that_the_source_lost_is_said_to_be_lost():
    table = benchmark_table("kitti/64", {"m": {"psnr": 20.0}}, load_protocol("kitti/64"))
    assert table.frame["origin"].tolist() == ["ours"]
    assert "Not in our source: every row." in table.markdown


def test_figures_of_another_protocol_are_refused_with_the_field():
    other = dataclasses.replace(load_protocol("bair/magvit"))
    with pytest.raises(MismatchError, match=r"samples_per_video: 1 \| 100"):
        benchmark_table("bair/64", {"m": {"fvd": 62.0}}, other)
