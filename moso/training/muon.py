"""Muon: momentum, with each matrix's update replaced by the nearest semi-orthogonal matrix.

Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024
(https://kellerjordan.github.io/posts/muon), for the iteration's coefficients, the momentum of 0.95 and the scale.

torch.optim.Muon is not used: it takes 2-D parameters only and iterates in bfloat16, which CPUs without instructions for
it run up to 90 times slower than float32. Here kernels are flattened to (out, in * k * k), equal shapes are stacked so
that one bmm serves all of them, and the iteration is in float32 on a CPU, in bfloat16 on CUDA.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# p(s) = a s + b s^3 + c s^5, iterated, draws singular values in (0, 1] into about [0.7, 1.2]: steep at 0, not exact.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
TINY = 1e-7
WIDE, ROWS, FEW = 2, 64, 6
"""From so many columns a row and so many rows, the iteration is cheaper on the rows' products (`_by_squares`); beyond
so many iterations their rounding would show."""


def orthogonalise(matrices: Float[Tensor, "n rows cols"], iterations: int = 5) -> Float[Tensor, "n rows cols"]:
    """U V^T, roughly, of each U S V^T: singular values between about 0.7 and 1.2 in place of S; 0 stays 0.

    Args:
        matrices: any values; iterated as they lie where rows <= cols, else transposed (the smaller square is formed).
        iterations: of the Newton-Schulz polynomial.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    x = x.mT if tall else x
    # The Frobenius norm bounds the largest singular value, so that all lie in (0, 1].
    x = x / (x.norm(dim=(1, 2), keepdim=True) + TINY)
    # bfloat16 has too few digits for the squares of small singular values.
    few = iterations <= FEW  # a square's rounding grows tenfold an iteration
    by_squares = x.dtype == torch.float32 and few and x.shape[1] >= ROWS and x.shape[2] >= WIDE * x.shape[1]
    x = _by_squares(x, iterations) if by_squares else _directly(x, iterations)
    return (x.mT if tall else x).to(matrices.dtype)


def _directly(x: Float[Tensor, "n rows cols"], iterations: int) -> Float[Tensor, "n rows cols"]:
    """p applied to the singular values of x, `iterations` times, on x itself."""
    a, b, c = COEFFICIENTS
    for _ in range(iterations):
        square = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x


def _by_squares(x: Float[Tensor, "n rows cols"], iterations: int) -> Float[Tensor, "n rows cols"]:
    """The same on rows x rows matrices alone: p(x) = q(x x^T) x with q(g) = a + b g + c g^2, and the next x x^T is
    q g q, so that the wide x is needed at the beginning and at the end only. At 128 x 1152 (a 3x3 kernel of the
    embedded run) that is 2.7 times fewer operations."""
    a, b, c = COEFFICIENTS
    square = torch.bmm(x, x.mT)
    product: Tensor | None = None
    for i in range(iterations):
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        product = polynomial if product is None else torch.bmm(polynomial, product)
        if i + 1 < iterations:
            square = torch.bmm(torch.bmm(polynomial, square), polynomial)
    return x if product is None else torch.bmm(product, x)


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two or more dimensions; vectors, embeddings and tables belong to AdamW (see optimizer.py).

    Args:
        parameters: matrices and kernels; a kernel (out, in, k, k) counts as the matrix (out, in * k * k).
        lr: rate; an update's root mean square is about lr * sqrt(max(1, rows / cols) / max(rows, cols)).
        momentum: of the running mean of the gradient, applied as Nesterov does.
        weight_decay: decoupled.
        iterations: of `orthogonalise`.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        iterations: int = 5,
    ) -> None:
        super().__init__(
            parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "iterations": iterations}
        )
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim < 2:
                    raise ValueError(f"Muon takes matrices and kernels, not a parameter of {parameter.ndim} dimensions")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            equal: defaultdict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                mean = state["momentum_buffer"]
                mean.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(mean, group["momentum"]).flatten(1)  # Nesterov
                equal[(tuple(update.shape), update.dtype, update.device)].append((parameter, update))
            for ((rows, cols), *_), members in equal.items():
                updates = orthogonalise(torch.stack([update for _, update in members]), group["iterations"])
                # Jordan et al.: makes the update of a tall matrix as large, in its outputs' norm, as a wide one's.
                scale = max(1, rows / cols) ** 0.5
                for (parameter, _), update in zip(members, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.view(parameter.shape), alpha=-group["lr"] * scale)
