from dataclasses import dataclass

import pytest
import torch

from moso.training.pinning import map_tensors, pinned


@dataclass(frozen=True)
class Inner:
    x: torch.Tensor


@dataclass(frozen=True)
class Outer:
    inner: Inner
    y: torch.Tensor


def test_every_tensor_of_a_batch_is_reached_and_nothing_else_is_let_pass():
    batch = Outer(Inner(torch.ones(2)), torch.zeros(3))
    moved = map_tensors(batch, lambda tensor: tensor + 1)
    assert moved.inner.x.tolist() == [2, 2]
    assert moved.y.tolist() == [1, 1, 1]
    assert map_tensors(torch.ones(1), lambda tensor: tensor * 3).tolist() == [3]
    with pytest.raises(TypeError, match="not list"):
        map_tensors([torch.ones(1)], lambda tensor: tensor)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_a_pinned_batch_is_page_locked_and_equal():
    batch = Outer(Inner(torch.ones(2)), torch.zeros(3))
    found = pinned(batch)
    assert found.inner.x.is_pinned()
    assert found.y.is_pinned()
    assert torch.equal(found.inner.x, batch.inner.x)
