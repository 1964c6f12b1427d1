import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from moso.evaluation.report.charts import Axis, Series, decades, line_chart, ticks
from moso.evaluation.report.films import (
    ROWS,
    data_uri,
    difference,
    median_rank,
    ranked_by,
    sheet,
    shown_size,
    spread,
)
from moso.evaluation.report.markup import Markup, tag


def test_text_is_escaped_and_markup_is_not():
    assert tag("p", "a < b & c", tag("b", "x")) == "<p>a &lt; b &amp; c<b>x</b></p>"
    assert tag("input", value='"', class_="k", aria_label="a") == '<input value="&quot;" class="k" aria-label="a"/>'
    assert tag("p", None, ["a", Markup("<br>")], title=None) == "<p>a<br></p>"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (17.2, 25.9, [18, 20, 22, 24]),
        (0.71, 0.83, [0.72, 0.74, 0.76, 0.78, 0.8, 0.82]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_decades_take_twos_and_fives_where_powers_are_few():
    assert decades(0.001, 10) == pytest.approx([0.001, 0.01, 0.1, 1, 10])
    assert decades(0.15, 3) == pytest.approx([0.2, 0.5, 1, 2])


def test_logarithmic_axis_puts_equal_ratios_at_equal_distances():
    axis = Axis(1, 100, 0, 200, log=True)
    assert [axis(v) for v in (1, 10, 100)] == [0, 100, 200]


def points_of(figure):
    path = next(p for p in figure.iter("path") if p.get("class") == "line c0")
    return [tuple(map(float, pair.split())) for pair in path.get("d")[1:].split("L")]


def parse(chart):
    # Well-formed XML or an error: an SVG element that is left open swallows those after it.
    return ElementTree.fromstring(chart)


def test_chart_draws_points_in_proportion_upwards_and_leaves_gaps_out():
    chart = line_chart("t", [Series("a", [0, 1, 2, 4], [0.0, 1.0, float("nan"), 4.0])], x_label="x", y_label="y")
    (x0, y0), (x1, y1), (x3, y3) = points_of(parse(chart))
    assert (x3 - x0) / (x1 - x0) == pytest.approx(4, abs=0.01)
    assert (y3 - y0) / (y1 - y0) == pytest.approx(4, abs=0.02)
    assert y3 < y0


def test_chart_names_its_axes_and_series_and_escapes_them():
    chart = line_chart("A < B", [Series("one & two", [1, 2], [1, 2], 3)], x_label="step", y_label="loss")
    texts = {text for element in parse(chart).iter() for text in [element.text] if text}
    assert {"A < B", "step", "loss"} <= texts
    assert "one &amp; two" in chart


def test_frames_are_counted_in_whole_numbers():
    def labels(xs):
        figure = parse(line_chart("t", [Series("a", xs, [20.0] * len(xs))], x_label="frame", y_label="dB"))
        texts = [t for t in figure.iter("text") if t.get("text-anchor") == "middle" and t.get("class") == "tick"]
        return [t.text for t in texts]

    assert labels([3, 4]) == ["3", "4"]
    assert "3.2" in labels([3.0, 3.5, 4.0])


def test_chart_without_data_says_so():
    assert "No data" in line_chart("t", [Series("a", [1], [0.0])], x_label="x", y_label="y", log_y=True)


def test_a_band_is_an_area_below_the_lines_from_its_upper_end_back_along_its_lower():
    series = Series("a", [0, 1, 2], [1.0, 2.0, 3.0], low=[0.0, 1.0, float("nan")], high=[2.0, 5.0, float("nan")])
    figure = parse(line_chart("t", [series], x_label="x", y_label="y"))
    paths = [p for p in figure.iter("path") if p.get("class") in ("band c0", "line c0")]
    assert [p.get("class") for p in paths[:2]] == ["band c0", "line c0"]  # what is drawn first lies below
    corners = [tuple(map(float, c.split())) for c in paths[0].get("d")[1:-1].split("L")]
    assert [x for x, _ in corners] == [corners[0][0], corners[1][0], corners[1][0], corners[0][0]]
    (_, high0), (_, high1), (_, low1), (_, low0) = corners
    # Heights in proportion to the ends 2, 5, 1, 0 (downwards grow the pixels): the axis makes room for the band.
    assert (low0 - high1) / (low0 - high0) == pytest.approx(2.5, abs=0.01)
    assert (low0 - low1) / (low0 - high0) == pytest.approx(0.5, abs=0.01)
    assert high1 >= 14


def test_clips_are_spread_from_the_best_to_the_worst():
    values = np.array([3.0, 9.0, 1.0, 7.0, 5.0])
    assert spread(values, 3) == [(1, 1), (3, 4), (5, 2)]
    assert [rank for rank, _ in spread(values, 12)] == [1, 2, 3, 4, 5]
    assert spread(values[:2], 5) == [(1, 1), (2, 0)]
    assert spread(values, 3, higher_is_better=False) == [(1, 2), (3, 4), (5, 1)]


@pytest.mark.parametrize("clips", range(1, 14))
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 12])
def test_best_median_and_worst_are_always_among_the_clips_shown(clips, count):
    ranks = [rank for rank, _ in spread(np.arange(clips, dtype=float), count)]
    assert {1, median_rank(clips), clips} <= set(ranks)
    assert len(set(ranks)) == len(ranks) == min(max(count, 3), clips)
    assert ranks == sorted(ranks)


def test_the_metric_that_ranks_is_lpips_where_there_is_one_else_psnr():
    assert ranked_by(("psnr", "ssim", "lpips_vgg")) == "lpips_vgg"
    assert ranked_by(("ssim", "psnr")) == "psnr"
    assert ranked_by(("ssim",)) == "ssim"
    assert ranked_by(()) is None


def test_difference_is_absolute_twofold_and_bounded():
    truth = np.array([10, 200, 0], np.uint8).reshape(1, 1, 1, 3)
    video = np.array([4, 205, 255], np.uint8).reshape(1, 1, 1, 3)
    assert difference(truth, video).ravel().tolist() == [12, 10, 255]
    assert difference(video, truth).ravel().tolist() == [12, 10, 255]


def test_sheet_has_a_row_a_video_and_a_column_a_frame_and_survives_its_coding():
    flat = {name: np.full((3, 16, 16, 3), 25 * i, np.uint8) for i, name in enumerate(ROWS)}
    for video in flat.values():
        video += np.arange(3, dtype=np.uint8)[:, None, None, None] * 10
    uri = data_uri(sheet(flat))
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape == (16 * len(ROWS), 48, 3)
    for i in range(len(ROWS)):
        for t in range(3):
            assert np.abs(pixels[16 * i + 8, 16 * t + 8] - (25 * i + 10 * t)).max() <= 6


def test_large_frames_are_reduced_and_small_ones_are_not():
    assert shown_size(64, 64) == (1.0, 64, 64)
    assert shown_size(256, 320) == (0.4, 102, 128)
