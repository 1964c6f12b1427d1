"""FLOPs counted against numbers worked out by hand, and counting changes nothing."""

import pytest
import torch
from torch import nn

from moso.training.flops import Flops, measured_peak
from moso.training.segment import Segment
from moso.training.speed import Speed

CPU = torch.device("cpu")


class Layer(Segment):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 7, bias=False)

    def forward(self, x):
        return self.layer(x).tanh()


@pytest.mark.parametrize("recompute", [False, True])
def test_a_layers_three_products_are_counted_and_recomputation_is_not(recompute):
    layer = Layer()
    layer.recompute = recompute
    x = torch.ones(3, 5, requires_grad=True)
    with Flops() as flops:
        layer(x).sum().backward()
    assert flops.total == 3 * (2 * 3 * 5 * 7)  # output, gradient of the input, gradient of the weights
    with Flops(again=True) as flops:
        layer(x).sum().backward()
    assert flops.total == (3 + recompute) * (2 * 3 * 5 * 7)


def test_fused_attention_of_a_cpu_counts_as_its_products():
    q, k, v = (torch.randn(2, 3, 8, 4, requires_grad=True) for _ in range(3))
    with Flops() as flops:
        out = nn.functional.scaled_dot_product_attention(q, k, v)
    forward = 2 * (2 * 2 * 3 * 8 * 8 * 4)
    assert flops.total == forward
    with Flops() as flops:
        out.sum().backward()
    assert flops.total == 2.5 * forward


def test_the_peak_is_that_of_a_product():
    assert measured_peak(CPU, "float32") > 1e8


def test_rates_shares_and_utilisation_by_hand():
    speed = Speed({"images": 16}, 4, CPU, peak=1e9)
    speed.flops = 1e8
    speed.add(0.5, 1.5)
    speed.add(0.0, 2.0)
    figures = speed.take()
    assert figures.pop("peak_memory_mb") > 10
    assert figures == pytest.approx({
        "samples_per_s": 2.0, "images_per_s": 32.0, "data_wait_s": 0.5, "data_wait_share": 0.125,
        "flops_per_step": 1e8, "model_flops_utilisation": 0.05,
    })  # fmt: skip
    assert (speed.steps, speed.waited, speed.busy) == (0, 0.0, 0.0)


def test_the_log_s_line_is_of_all_points_and_not_of_the_last_one():
    speed = Speed({"images": 16}, 4, CPU, peak=1e9)
    assert speed.summary() == ""
    speed.flops = 1e8
    for waited, busy in ((0.5, 1.5), (0.0, 6.0)):
        speed.add(waited, busy)
        speed.take()
    # 2 steps of 4 samples in 8 s, of which half a second was waited; 2e8 operations
    said = speed.summary()
    assert said.startswith("1 samples/s, 16 images/s, 6.2% of the time waiting for data, peak memory ")
    assert said.endswith(" MB, 0.025 GFLOP/s, 2% of the peak")


def test_counting_leaves_every_bit_as_it_was(run, toy, config, monkeypatch):
    import contextlib

    counted, plain = toy.Toy(rival_from=2), toy.Toy(rival_from=2)
    history = run(counted, config(), work="counted")

    class NotCounted(contextlib.nullcontext):
        total = 0.0

        def __enter__(self):
            return self

    monkeypatch.setattr("moso.training.loop.Flops", NotCounted)
    assert run(plain, config(), work="plain") == history
    for name, value in plain.module.state_dict().items():
        assert torch.equal(counted.module.state_dict()[name], value), name
