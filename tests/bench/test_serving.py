"""The service's benchmark: what it makes of the seconds that it measured."""

import pytest

from bench.serving import ROWS, Row, line, summary


def test_percentiles_and_rates_are_those_of_the_requests():
    found = summary(Row("predict", clips=4, callers=2), [0.1] * 19 + [2.1], wall_s=5.0)
    assert (found["requests"], found["p50_s"], found["requests_per_s"], found["clips_per_s"]) == (20, 0.1, 4.0, 16.0)
    assert found["p95_s"] == pytest.approx(0.2)  # between the 19th and the 20th of 20: 0.1 + 0.05 * 2.0
    assert line(found) == "| predict | 4 | 2 | npy | 100 | 200 | 4.00 | 16.00 |"


def test_single_requests_batches_callers_and_forms_are_measured():
    assert {row.clips for row in ROWS} >= {1, 16}
    assert max(row.callers for row in ROWS) > 1
    assert {row.form for row in ROWS} >= {"npy", "json", "mp4"}
