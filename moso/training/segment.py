"""Parts of the networks that a training's switches act on: segments (recomputed, compiled) and attention (plain)."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_recomputing = False


class Segment(nn.Module):
    """A block whose inner activations may be dropped going forward and computed again going back.

    `recompute` (TrainingConfig.recompute) counts in training mode with gradients alone. The gradients are the same;
    random numbers (dropout) and autocast are as they were.
    """

    recompute = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(super().__call__, *args, use_reentrant=False, context_fn=_contexts, **kwargs)
        return super().__call__(*args, **kwargs)


class SwitchedAttention(nn.Module):
    """A layer whose attention is fused (scaled_dot_product_attention), or the plain product where `fused` is False."""

    fused = True


def plain_attention(
    q: Float[Tensor, "*n L d"], k: Float[Tensor, "*n L d"], v: Float[Tensor, "*n L d"], dropout: float = 0.0
) -> Float[Tensor, "*n L d"]:
    """softmax(q k^T / sqrt(d)) v with the weights written out: the reference that fused attention is held against."""
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    return F.dropout(weights, dropout) @ v


def recomputing() -> bool:
    """Whether a segment is being computed again: its work is none that the model needs."""
    return _recomputing


class _Again(AbstractContextManager[None]):
    """`recomputing` is true inside. Torch enters it at each backward pass through the segment, and an adaptive
    adversarial weight makes several, so it can be entered again."""

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        global _recomputing
        self._before.append(_recomputing)
        _recomputing = True

    def __exit__(self, *error: object) -> None:
        global _recomputing
        _recomputing = self._before.pop()


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return contextlib.nullcontext(), _Again()
