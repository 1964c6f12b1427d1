"""Modules and tensors that have sizes and no memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from moso.vqvae import losses


@contextlib.contextmanager
def fake_tensors() -> Iterator[None]:
    """Every tensor made inside is fake: operations give its shape, layout and device, and compute nothing.

    Module.to would swap a fake parameter for its converted copy, which torch refuses while anything knows the parameter
    by a weak reference, and its own FakeTensorMode does. Inside, modules are converted in place as real ones are; to be
    removed once `nn.Conv2d(3, 8, 3).to("cpu")` works under a FakeTensorMode (torch 2.13: it does not).
    """
    original = nn.Module._apply

    def apply(module: nn.Module, convert: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = convert(tensor.detach())
        return module

    nn.Module._apply = apply  # type: ignore[assignment, method-assign]
    losses._band.cache_clear()  # tensors that are kept: real ones are of no use here, fake ones of none outside
    try:
        with FakeTensorMode():
            yield
    finally:
        losses._band.cache_clear()
        nn.Module._apply = original  # type: ignore[method-assign]
