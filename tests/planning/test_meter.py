"""Memory counted as tensors come and go."""

import pytest
import torch
from torch import nn

from moso.planning.fake import fake_tensors
from moso.planning.meter import MemoryMeter

KIB = 1024


def test_the_peak_is_what_lived_at_once() -> None:
    with MemoryMeter() as meter:
        a = torch.zeros(256)  # 1 KiB
        b = a + 1
        assert meter.live == meter.peak == 2 * KIB
        del b
        assert (meter.live, meter.peak) == (KIB, 2 * KIB)
        meter.restart()
        assert meter.peak == KIB
    assert a.sum() == 0


def test_views_take_nothing() -> None:
    with MemoryMeter() as meter:
        a = torch.zeros(256)
        b = a.view(16, 16).T[:4]
    assert meter.live == KIB, b.shape


def test_what_autograd_keeps_is_counted_until_the_backward_pass() -> None:
    with MemoryMeter() as meter:
        x = torch.ones(256, requires_grad=True)
        y = x.exp().sin().sum()  # exp keeps its result, sin its input, which is the same; sin's own result goes
        assert meter.live == 2 * KIB + 4
        y.backward()
        del y
    assert meter.live == 2 * KIB  # x and its gradient


def test_fake_tensors_have_the_share_of_trues_that_is_said() -> None:
    with fake_tensors(), MemoryMeter(true=0.25):
        mask = torch.zeros(8, 10, dtype=torch.bool)
        assert mask.nonzero().shape == (20, 2)
        assert torch.zeros(8, 10, 3)[mask].shape == (20, 3)
        assert mask.sum().item() == 1


def test_fake_modules_can_be_converted_and_real_ones_are_as_before() -> None:
    with fake_tensors():
        layer = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert nn.Linear(2, 2).to(torch.float64).weight.dtype == torch.float64


def test_real_tensors_are_read_as_they_are() -> None:
    with MemoryMeter(true=0.25):
        mask = torch.tensor([True, True, False])
        assert mask.nonzero().tolist() == [[0], [1]]
        assert torch.tensor([4.0, 5.0, 6.0])[mask].tolist() == [4.0, 5.0]
        assert torch.tensor(7.5).item() == pytest.approx(7.5)
