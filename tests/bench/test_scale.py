"""How growth is judged, by hand; and `make bench-scale` runs, at sizes that take seconds, on two of its curves."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import scale
from bench.counting import count
from bench.fit import against_flat, against_linear, exponent
from bench.growth_chart import NAMESPACE, chart
from bench.points import CURVES, Point, grid_of, make_point, result_bytes


def test_the_exponent_is_that_of_a_power_law() -> None:
    assert exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2)
    assert exponent([1, 2, 4], [5, 5, 5]) == pytest.approx(0)
    assert exponent([10, 20, 40], [7, 14, 28]) == pytest.approx(1)


def test_a_fixed_part_and_one_that_grows_evenly_is_linear() -> None:
    assert against_linear([1, 2, 4, 8], [2 + 1, 2 + 2, 2 + 4, 2 + 8]) == pytest.approx(1)


def test_a_square_is_above_its_straight_line() -> None:
    # the line through (1, 1) and (2, 4) reaches 10 at 4, where the square has 16
    assert against_linear([1, 2, 4], [1, 4, 16]) == pytest.approx(1.6)


def test_flatness_is_the_largest_over_the_smallest() -> None:
    assert against_flat([100, 400, 150]) == pytest.approx(1.5)


def test_a_grid_has_the_places_asked_for_and_is_nearly_square() -> None:
    assert [grid_of(n) for n in (16, 64, 128, 256)] == [(4, 4), (8, 8), (8, 16), (16, 16)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The JSON of a curve of time and one of memory, and the chart."""
    output = tmp_path_factory.mktemp("scale") / "build" / "bench-scale.json"
    scale.main(
        ["--small", "--device", "cpu", "--output", str(output), "--curve", "motion_frames", "--curve", "samples"]
    )
    return json.loads(output.read_text()), output.with_suffix(".svg")


def test_every_key_is_documented_and_every_documented_key_is_there(finished: Any, documented: Any) -> None:
    found, _ = finished
    rows = documented("bench-scale.json")
    assert set(rows) == set(found)
    of_curves = {key for curve in found["curves"] for key in curve}
    assert rows["curves"] == of_curves


def test_growth_is_that_of_the_figures_beside_it(finished: Any) -> None:
    found, _ = finished
    time, memory = found["curves"]
    assert (time["curve"], time["unit"], time["x"]) == ("motion_frames", "s", [32, 64, 128])
    assert (memory["curve"], memory["unit"], memory["x"]) == ("samples", "MiB", [4, 16])
    assert time["against_linear"] == pytest.approx(against_linear(time["x"], time["y"]))
    assert memory["against_flat"] == pytest.approx(memory["y"][1] / memory["y"][0])
    for curve in found["curves"]:
        assert curve["exponent"] == pytest.approx(exponent(curve["x"], curve["y"]))
    assert f"{memory['against_flat']:.2f} times the smallest" in scale.show(found)


def test_the_chart_is_a_picture_by_itself_with_every_curve_named(finished: Any) -> None:
    found, picture = finished
    root = ET.parse(picture).getroot()
    assert root.tag == f"{{{NAMESPACE}}}svg"
    texts = [element.text or "" for element in root.iter(f"{{{NAMESPACE}}}text")]
    for curve in found["curves"]:
        assert f"{curve['title']} ({curve['label']})" in texts
    assert texts.count("proportional") == 2


def test_a_rollouts_frames_are_left_out_of_its_memory_and_samples_are_handed_out() -> None:
    # four videos of 24 frames of 32 x 32 pixels in three colours
    assert result_bytes(Point("rollout_frames", 24, small=True)) == 4 * 24 * 32 * 32 * 3
    assert result_bytes(Point("samples", 24, small=True)) == 0


def test_a_unit_without_a_curve_has_no_panel() -> None:
    curve = {"title": "one", "label": "clips", "unit": "s", "x": [1, 2], "y": [1.0, 2.0]}
    assert "memory" not in chart([curve])


SIZES = {
    **{curve: asked.small for curve, asked in scale.ASKED.items()},
    "rollout_frames": (6, 12, 24),
    "samples": (4, 8, 16),
}


@pytest.mark.parametrize("curve", CURVES)
def test_a_point_works_on_as_much_as_it_says(curve: Any) -> None:
    points = [Point(curve, x, small=True) for x in SIZES[curve]]
    assert [make_point(point, torch.device("cpu")).amount for point in points] == list(SIZES[curve])
    flops = [count(make_point(point, torch.device("cpu")).work)[0] for point in points]
    # A fixed part (a clip's start, what samples share), and each further piece costs as much as the one before: nothing
    # is left out at large sizes. Attention over a grid's rows and columns grows a little faster.
    assert against_linear(SIZES[curve], flops) == pytest.approx(1, abs=0.06 if curve == "motion_grid" else 0.015)
    fixed = flops[0] - (flops[1] - flops[0]) * SIZES[curve][0] / (SIZES[curve][1] - SIZES[curve][0])
    assert fixed < 0.5 * flops[0]
