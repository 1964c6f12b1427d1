"""A profile's sums: operators are told by where they were called, and a real step has the operators that it calls."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bench import profile
from bench.cases import Case
from bench.counting import Amount, Operators
from bench.operators import DATA, Row, group_of, grouped, rows


def event(name: str, own: float, parent: Any = None) -> Any:
    """As torch.profiler has it: `own` microseconds without its children."""
    return SimpleNamespace(name=name, self_cpu_time_total=own, cpu_parent=parent)


def test_an_operators_time_is_that_of_what_torch_calls_inside_it() -> None:
    step, linear = event("ProfilerStep", 5), event("aten::linear", 10)
    addmm = event("aten::addmm", 100, linear)
    inner = [event("aten::expand", 3, addmm), event("aten::copy_", 7, addmm)]
    alone = event("aten::copy_", 40)
    counted = {("", "aten::addmm"): Amount(2, 64, 1000.0), ("", "aten::copy_"): Amount(1, 16, 0.0)}
    found = rows([step, linear, addmm, *inner, alone], counted, 2)  # two steps: half of everything
    assert [(row.name, row.group, row.calls, row.bytes) for row in found] == [
        ("aten::addmm", "matmul", 2, 64),
        ("aten::copy_", "elementwise and copies", 1, 16),
    ]
    assert [row.seconds for row in found] == pytest.approx([55e-6, 20e-6])


def test_what_the_optimizer_and_the_data_call_is_theirs_whatever_it_is() -> None:
    optimizer, data = event("Optimizer.step#Muon.step", 1), event(DATA, 1)
    events = [optimizer, event("aten::mm", 8, optimizer), data, event("aten::mm", 4, data), event("aten::mm", 2)]
    counted = {("optimizer", "aten::mm"): Amount(1, 30, 9.0), ("", "aten::mm"): Amount(1, 10, 3.0)}
    found = grouped(rows(events, counted, 1))
    assert [(row.name, row.bytes, row.flops) for row in found] == [
        ("matmul", 10, 3),
        ("optimizer", 30, 9),
        ("data", 0, 0),
    ]
    assert [row.seconds for row in found] == pytest.approx([2e-6, 8e-6, 4e-6])


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("aten::convolution_backward", "convolution"),
        ("aten::addmm", "matmul"),
        ("aten::mm", "matmul"),
        ("aten::mul", "elementwise and copies"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("aten::_softmax", "attention"),
        ("aten::_log_softmax", "elementwise and copies"),
        ("aten::native_group_norm", "norm"),
        ("aten::linalg_vector_norm", "elementwise and copies"),
        ("aten::bernoulli_", "random numbers"),
    ],
)
def test_an_operator_belongs_to_one_group(name: str, group: str) -> None:
    assert group_of("", name) == group


def test_operators_are_counted_one_by_one_and_apart_by_label() -> None:
    layer = nn.Linear(8, 4, bias=False)
    with Operators() as counted:
        y = layer(torch.ones(2, 8))
        counted.within = "optimizer"
        y.detach().mul_(2)
    assert counted.by["", "aten::mm"] == Amount(1, 4 * (2 * 8 + 8 * 4 + 2 * 4), 2 * 2 * 8 * 4)
    assert counted.by["optimizer", "aten::mul_"].bytes == 4 * (8 + 8)
    assert counted.total == 2 * 2 * 8 * 4


def test_the_steps_of_both_trainings_have_their_groups_and_their_times_add_up() -> None:
    for stage in ("vqvae", "transformer"):
        found = profile.profile_stage(stage, "sim_push/tiny", 1)
        groups = {row.name: row for row in grouped(found.operators)}
        assert {"convolution", "matmul", "attention", "norm", "optimizer", "data"} <= set(groups), stage
        assert sum(row.seconds for row in groups.values()) <= found.seconds
        assert groups["convolution"].flops > 0
        assert groups["data"].bytes > 0


def test_a_row_of_make_bench_can_be_looked_at() -> None:
    found = profile.profile_row(Case("codebook", "sim_push/tiny", 2), "plain")
    assert {"matmul"} <= {row.group for row in found.operators}


def test_the_table_says_shares_of_the_time_and_of_the_peak() -> None:
    rows_ = [Row("aten::mm", "matmul", 2, 0.5, 3e6, 1e9), Row("aten::add", "elementwise and copies", 1, 0.25, 6e6, 0)]
    text = profile.table(profile.Profile(1.0, 1.5, rows_), 4e9, 1)
    assert "| matmul | 500 | 50% | 3 | 1.0 | 50% |" in text
    assert "| elementwise and copies | 250 | 25% | 6 |  |  |" in text
    assert "| between operators | 250 | 25% |" in text
    assert "| `mm` | matmul | 2 | 500 | 50% | 3 |" in text
    assert "`add`" not in text
