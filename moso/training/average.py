"""Exponential moving average of a module's weights, which validation and the result may use in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of the parameters of `module`; buffers (an EMA codebook) have their own ways and are left alone.

    Args:
        module: whose trainable parameters are averaged, from their present values on.
        decay: weight of the old average; the first updates use less, (1 + n) / (10 + n), since what they would keep is
            the random start (the rule of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.tensors = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Count the weights after step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self.tensors[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the averages of a checkpoint."""
        for name, average in self.tensors.items():
            average.copy_(tensors[name])

    @torch.no_grad()
    def copy_to_module(self) -> None:
        """Give the module the averages."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.tensors[name])

    @contextlib.contextmanager
    def in_module(self) -> Iterator[None]:
        """The module has the averages inside, its own weights again after."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.copy_to_module()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(own[name])
