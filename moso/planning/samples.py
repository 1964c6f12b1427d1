"""Clips and tokens that stand in for a data set of which only the sizes are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor

from moso.frames.clips import Clip, Clips
from moso.tokens.clip_tokens import ClipTokens, TokenGrids
from moso.tokens.store import StoredBatch, StoreSettings, TokenStore


class RandomClips(Clips):
    """Clips of random pixels; there is no cache behind them.

    Args:
        count: of the set.
        shape: (T, H, W).
    """

    def __init__(self, count: int, shape: tuple[int, int, int]) -> None:
        self.clips = [Clip(f"random_{i:06d}", 0) for i in range(count)]
        self.clip_frames, self.shape = shape[0], shape

    def __len__(self) -> int:
        return len(self.clips)

    def batch(self, indices: Sequence[int] | np.ndarray) -> UInt8[Tensor, "B T H W 3"]:
        """uint8 [0, 255]."""
        return torch.randint(0, 256, (len(indices), *self.shape, 3), dtype=torch.uint8)


class RandomTokens(TokenStore):
    """A store of random tokens; there are no files behind it.

    Args:
        count: clips of the training split; the validation split has as many.
        settings: as the store would have them.
    """

    def __init__(self, count: int, settings: StoreSettings) -> None:
        split = ["train"] * count + ["validation"] * count
        names = [f"random_{i:06d}@00000" for i in range(2 * count)]
        table = pd.DataFrame({"split": split, "clip_id": names, "shard": 0, "row": range(2 * count)})
        codebook = torch.zeros(settings.codebook_size, 1)
        super().__init__(Path("random tokens"), settings, codebook, table)

    def batch(self, rows: Sequence[int] | np.ndarray) -> StoredBatch:
        """int64 in [0, N)."""
        grids: TokenGrids = self.settings.grids

        def some(component: str) -> Any:
            return torch.randint(0, self.settings.codebook_size, (len(rows), *grids.shape(component)))

        target = ClipTokens(some("scene"), some("object"), some("motion"))
        return StoredBatch(target, some("scene"), some("object"))
