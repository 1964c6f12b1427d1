"""Vector quantisation by one-hot matrices, as in most VQ-VAE code.

P positions, N codebook size, D code dimension.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class OneHotQuantizer(nn.Module):
    """Nearest codes, and the moving averages of counts and sums, e = sums / use. `forward` updates once a call."""

    codebook: Tensor
    use: Tensor
    sums: Tensor

    def __init__(self, size: int, dimension: int, decay: float = 0.99, smoothing: float = 1e-5) -> None:
        super().__init__()
        self.decay, self.smoothing = decay, smoothing
        self.register_buffer("codebook", torch.randn(size, dimension))
        self.register_buffer("use", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, dimension))

    def search(self, vectors: Float[Tensor, "P D"]) -> Int[Tensor, " P"]:
        """Tokens: every distance at once."""
        distances = vectors.pow(2).sum(1, keepdim=True) + self.codebook.pow(2).sum(1) - 2 * vectors @ self.codebook.t()
        return distances.argmin(dim=1)

    def forward(
        self, features: Float[Tensor, "n D h w"]
    ) -> tuple[Float[Tensor, "n D h w"], Int[Tensor, "n h w"], Float[Tensor, ""]]:
        """Codes (gradients pass straight through), tokens, and the commitment loss."""
        n, dimension, height, width = features.shape
        vectors = features.permute(0, 2, 3, 1).reshape(-1, dimension)
        tokens = self.search(vectors.detach())
        one_hot = torch.zeros(len(tokens), len(self.codebook), device=tokens.device)
        one_hot.scatter_(1, tokens[:, None], 1)
        codes = (one_hot @ self.codebook).view(n, height, width, dimension).permute(0, 3, 1, 2)
        if self.training:
            self.update_(vectors.detach(), one_hot)
        commitment = F.mse_loss(features, codes.detach())
        return features + (codes - features).detach(), tokens.view(n, height, width), commitment

    @torch.no_grad()
    def update_(self, vectors: Float[Tensor, "P D"], one_hot: Float[Tensor, "P N"]) -> None:
        """One update of the moving averages, and of every code from them."""
        self.use.mul_(self.decay).add_(one_hot.sum(0), alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(one_hot.t() @ vectors, alpha=1 - self.decay)
        total = self.use.sum()
        smoothed = (self.use + self.smoothing) / (total + len(self.use) * self.smoothing) * total
        self.codebook.copy_(self.sums / smoothed[:, None])
