"""Which of the two limits, by figures made up for it."""

import torch

from bench.roofline import Limit, limit, measure_peaks


def test_many_operations_on_little_data_are_limited_by_flops() -> None:
    # 100 at 50/s are 2 s, 10 bytes at 10/s are 1 s; 4 s were measured
    assert limit(100, 10, 4.0, 50, 10) == Limit("flops", 0.5)


def test_few_operations_on_much_data_are_limited_by_bytes() -> None:
    # 0.2 s against 3 s, of 4 s
    assert limit(10, 30, 4.0, 50, 10) == Limit("bytes", 0.75)


def test_caches_show_as_more_than_the_whole_roof() -> None:
    assert limit(0, 30, 2.0, 50, 10) == Limit("bytes", 1.5)


def test_peaks_are_measured_in_the_formats_asked_for() -> None:
    peaks = measure_peaks(torch.device("cpu"), bf16=False, small=True)
    assert peaks.flops_per_s > 0
    assert peaks.bytes_per_s > 0
    assert peaks.bf16_flops_per_s is None
