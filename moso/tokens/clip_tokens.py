"""Token grids of clips: scene and object once a clip, motion once a frame.

B clips, T frames, h w token grid (each component has its own), N codebook size. Tokens are int64 in [0, N).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from moso.choices import Component
from moso.errors import ConfigError

COMPONENTS: tuple[str, ...] = get_args(Component)
ABSENT = (0, 0)
"""The grid of a component that the model does not have (ablations of Sec. C.2). Its tensors have no elements."""


@dataclass(frozen=True)
class TokenGrids:
    """Sizes of a clip's token grids.

    Attributes:
        frames: T, frames of a clip.
        scene, object: (h, w) of the one grid a clip; ABSENT, (0, 0), where there is no such component.
        motion: (h, w) of the grid of each frame; there always is one.
    """

    frames: int
    scene: tuple[int, int]
    object: tuple[int, int]
    motion: tuple[int, int]

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError("frames", self.frames, "must be at least 1")
        for name in COMPONENTS:
            grid = getattr(self, name)
            if grid == ABSENT and name != "motion":
                continue
            if len(grid) != 2 or min(grid) < 1:
                absent = "" if name == "motion" else ", or (0, 0): no such component"
                raise ConfigError(name, grid, f"must be two sizes (h, w) of at least 1{absent}")

    @property
    def components(self) -> tuple[str, ...]:
        """Those that are there, in the order of COMPONENTS."""
        return tuple(name for name in COMPONENTS if getattr(self, name) != ABSENT)

    def shape(self, component: str) -> tuple[int, ...]:
        """Shape of one clip's tokens of a component: (h, w), for motion (T, h, w)."""
        grid: tuple[int, int] = getattr(self, component)
        return (self.frames, *grid) if component == "motion" else grid

    @property
    def tokens(self) -> int:
        """Tokens of a clip: scene, object and every frame's motion (Table 7)."""
        return sum(int(np.prod(self.shape(name))) for name in COMPONENTS)


@dataclass(frozen=True)
class ClipTokens:
    """Tokens of B clips, int64 in [0, N). A component that is absent has the shape (B, 0, 0).

    Attributes:
        scene: (B, h, w).
        object: (B, h, w), its own grid.
        motion: (B, T, h, w), its own grid.
    """

    scene: Int[Tensor, "B hs ws"]
    object: Int[Tensor, "B ho wo"]
    motion: Int[Tensor, "B T hm wm"]

    def __post_init__(self) -> None:
        if (self.scene.ndim, self.object.ndim, self.motion.ndim) != (3, 3, 4):
            raise ValueError(
                "scene and object are (B, h, w) and motion is (B, T, h, w), not "
                f"{tuple(self.scene.shape)}, {tuple(self.object.shape)}, {tuple(self.motion.shape)}"
            )
        if not len(self.scene) == len(self.object) == len(self.motion):
            raise ValueError(f"{len(self.scene)} scenes, {len(self.object)} objects, {len(self.motion)} motions")

    def __len__(self) -> int:
        return len(self.scene)

    def __getitem__(self, rows: slice | Sequence[int] | Tensor) -> ClipTokens:
        """The clips `rows` (a slice, indices or a mask): always a batch, so a single int is refused."""
        if isinstance(rows, int):
            raise TypeError("index ClipTokens with a slice or with several rows: the batch dimension stays")
        return ClipTokens(self.scene[rows], self.object[rows], self.motion[rows])

    @property
    def grids(self) -> TokenGrids:
        """The grids that these tokens have."""
        frames, *motion = self.motion.shape[1:]
        return TokenGrids(frames, _pair(self.scene.shape[1:]), _pair(self.object.shape[1:]), _pair(motion))

    def to(self, device: torch.device | str) -> ClipTokens:
        """The same tokens on `device`."""
        return ClipTokens(self.scene.to(device), self.object.to(device), self.motion.to(device))

    @staticmethod
    def concatenate(parts: Sequence[ClipTokens]) -> ClipTokens:
        """The clips of all `parts`, in order."""
        return ClipTokens(*(torch.cat([getattr(part, name) for part in parts]) for name in COMPONENTS))


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    height, width = sizes
    return int(height), int(width)
