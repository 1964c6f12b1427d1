"""The network of Stage I as settings, and every rule that they must keep.

Defaults are the paper's, or the released code's where the paper is silent; the field says which. The small preset of
the embedded run uses the same fields: there is no second network.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from moso.config import check_choices
from moso.errors import ConfigError
from moso.tokens.clip_tokens import ABSENT, COMPONENTS, TokenGrids

Decomposed = Literal["motion_scene_object", "motion_content", "none"]
PRESENT: dict[Decomposed, tuple[str, ...]] = {
    "motion_scene_object": ("scene", "object", "motion"),
    "motion_content": ("scene", "motion"),
    "none": ("motion",),
}
"""Which of COMPONENTS each decomposition has, in their order."""
SCALES = 3
"""The merge module works at the scene grid, at half and at a quarter of it (Eqs. 3 to 5)."""


def is_power_of_two(value: int) -> bool:
    """True for 1, 2, 4, 8 …"""
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class VQVAEConfig:
    """Everything that decides the shape of MOSO-VQVAE's parameters.

    Raises (on construction):
        ConfigError: a value breaks a rule; the message names the field, the value and what would fit.
    """

    frames: int
    """T, frames of a clip (Table in C.1)."""
    height: int
    width: int
    scene_factor: int
    """f_s: pixels per scene token, each way; a power of two, the finest of the three (Sec. 3.1.3)."""
    object_factor: int
    motion_factor: int
    pools: int
    """T', working pools of the temporal self-attention (Eq. 1); T / T' frames lie in one."""
    channels: int = 256
    """Feature channels C throughout ("width" of the released code)."""
    code_dimension: int = 256
    """D (Sec. 4)."""
    codebook_size: int = 16384
    """N, of all components together (Table 11)."""
    decomposition: Decomposed = "motion_scene_object"
    """What a clip is taken apart into (Tables 6 and 9; Sec. C.2). "motion_content": the content, a still encoder of
    the raw frames at scene_factor, has the place of the scene; there is no object. "none": the motion encoder's
    architecture on the raw frames at motion_factor; there is neither scene nor object. An absent component has the
    grid (0, 0) and its factor is not read; Algorithm 1 belongs to the full decomposition alone."""
    merge: Literal["module", "sum"] = "module"
    """How the full decomposition's features become a frame's: by Eqs. 3 to 8, or "sum": brought to the scene grid and
    added (Table 6, without merge module). Not read by the other decompositions, which the module is not for (Sec.
    C.2): "motion_content" adds its two components at the module's scales, "none" has nothing to add."""
    codebooks: Literal["shared", "separate"] = "shared"
    """ "separate": each component searches and learns an equal part of the N entries alone, scene's first, then
    object's, then motion's (Table 11: N = 3 x 8192). Tokens stay indices into the whole."""
    stem_channels: tuple[int, ...] = ()
    """Output channels of the first downsample layers, in order; `channels` for those not listed (the released code:
    for all)."""
    stem_kernel: int = 5
    """Kernel of the stride-2 convolutions (released code)."""
    stem_refine: bool = True
    """A 3x3 convolution after each stride-2 one (released code)."""
    stem_relu: bool = True
    """A ReLU behind each downsample layer's last GELU (released code)."""
    compress_kernel: int = 3
    """Kernel of the temporal compressing layer, odd. 3: released code; 1: the linear projection of Sec. 3.1.2."""
    merge_kernel: int = 5
    """Kernel of the merge module's stride-2 layers (released code: the encoders')."""
    residual_channels: int = 128
    """Hidden channels of a residual layer (released code)."""
    encoder_blocks: int = 4
    decoder_blocks: int = 4
    """Residual layers of a stack (released code: 4 everywhere)."""
    attention_heads: int = 4
    """Heads of the temporal self-attention (released code: 4 of 64)."""
    upsample_channels: tuple[int, ...] = ()
    """Output channels of the decoder's upsample layers but the last, which gives RGB; `channels` for those not
    listed."""
    norm_group: int = 8
    """Channels a group of GroupNorm. Deviation: the released code has BatchNorm; moso.vqvae.layers says why not
    here."""
    positions: bool = False
    """Learned position embeddings in the encoders and on the merged feature. Deviation (embedded run): the paper has
    none in Stage I."""

    def __post_init__(self) -> None:
        check_choices(self)
        for name in (
            "frames",
            "height",
            "width",
            "pools",
            "channels",
            "code_dimension",
            "residual_channels",
            "attention_heads",
            "norm_group",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1", "take a positive whole number")
        for name in ("encoder_blocks", "decoder_blocks"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "must not be negative", "0 leaves the residual stack out")
        if self.codebook_size < 2:
            raise ConfigError("codebook_size", self.codebook_size, "must be at least 2", "the paper's is 16384")
        if self.codebook_size % self.codebook_parts:
            below = self.codebook_size // self.codebook_parts * self.codebook_parts
            raise ConfigError(
                "codebook_size",
                self.codebook_size,
                f"must be a multiple of {self.codebook_parts}: codebooks are separate, an equal part a component",
                f"{f'{below} or ' if below else ''}{below + self.codebook_parts} would fit",
            )
        self._check_factors()
        if self.frames % self.pools:
            fitting = [p for p in range(1, self.frames + 1) if self.frames % p == 0]
            raise ConfigError(
                "pools",
                self.pools,
                f"must divide frames = {self.frames}",
                f"one of {', '.join(map(str, fitting))} would fit",
            )
        if self.channels % self.attention_heads:
            fitting = [n for n in range(1, self.channels + 1) if self.channels % n == 0 and n <= 16]
            raise ConfigError(
                "attention_heads",
                self.attention_heads,
                f"must divide channels = {self.channels}",
                f"one of {fitting} would fit",
            )
        for name in ("stem_kernel", "merge_kernel"):
            if getattr(self, name) < 2:
                raise ConfigError(
                    name,
                    getattr(self, name),
                    "must be at least 2, or stride 2 skips pixels",
                    "5 is the released code's",
                )
        if self.compress_kernel < 1 or self.compress_kernel % 2 == 0:
            raise ConfigError("compress_kernel", self.compress_kernel, "must be odd", "1 or 3 would fit")
        self._check_groups()

    def _check_factors(self) -> None:
        names = [f"{component}_factor" for component in self.components]
        for name in names:
            factor = getattr(self, name)
            if not is_power_of_two(factor) or factor < 2:
                raise ConfigError(name, factor, "must be a power of two, 2 or more", "2, 4, 8, 16 or 32 would fit")
        for finer, coarser in pairwise(names):
            if getattr(self, finer) > getattr(self, coarser):
                order = " <= ".join(self.components)
                raise ConfigError(
                    coarser,
                    getattr(self, coarser),
                    f"factors must be ordered {order}, and {finer} is {getattr(self, finer)}",
                    f"{getattr(self, finer)} or more would fit",
                )
        # the coarsest grid is the motion's or the last scale at which components meet, whichever is coarser
        coarsest = max(self.motion_factor, self.finest_factor * 2 ** (self.scales - 1))
        for name in ("height", "width"):
            pixels = getattr(self, name)
            if pixels % coarsest:
                below, above = pixels // coarsest * coarsest, (pixels // coarsest + 1) * coarsest
                which = (
                    "motion_factor"
                    if coarsest == self.motion_factor
                    else "scene_factor x 4, the merge module's third scale,"
                )
                raise ConfigError(
                    name,
                    pixels,
                    f"must be a multiple of {coarsest} ({which} of {coarsest} pixels)",
                    f"{f'{below} or ' if below else ''}{above} would fit",
                )

    def _check_groups(self) -> None:
        lists = (("stem_channels", self.stem_channels), ("upsample_channels", self.upsample_channels))
        single = (("channels", (self.channels,)), ("residual_channels", (self.residual_channels,)))
        for name, values in (*lists, *single):
            for value in values:
                if value < 1 or value % self.norm_group:
                    near = max(self.norm_group, value // self.norm_group * self.norm_group)
                    raise ConfigError(
                        name,
                        getattr(self, name),
                        f"{value} must be a multiple of norm_group = {self.norm_group}",
                        f"{near} would fit",
                    )

    @property
    def components(self) -> tuple[str, ...]:
        """The components that the decomposition has, in the order scene, object, motion."""
        return PRESENT[self.decomposition]

    @property
    def grids(self) -> TokenGrids:
        """Sizes of a clip's token grids."""
        sizes = {name: self.grid(self.factor(name)) if name in self.components else ABSENT for name in COMPONENTS}
        return TokenGrids(self.frames, **sizes)

    @property
    def codebook_parts(self) -> int:
        """In how many equal parts the codebook lies: one, or one a component."""
        return len(self.components) if self.codebooks == "separate" else 1

    def codebook_part(self, component: str) -> int:
        """Which part a component's tokens lie in (for an absent one, which has none: the first)."""
        shared = self.codebook_parts == 1 or component not in self.components
        return 0 if shared else self.components.index(component)

    @property
    def scales(self) -> int:
        """At how many grids components meet: the finest, half of it, a quarter …"""
        single = self.decomposition == "none" or (self.decomposition == "motion_scene_object" and self.merge == "sum")
        return 1 if single else SCALES

    @property
    def finest_factor(self) -> int:
        """Pixels a side of the grid that the decoder starts from: the finest component's."""
        return self.factor(self.components[0])

    def factor(self, component: str) -> int:
        """Pixels a token of a component, each way."""
        factor: int = getattr(self, f"{component}_factor")
        return factor

    @property
    def pool_frames(self) -> int:
        """T / T', frames of a working pool."""
        return self.frames // self.pools

    def grid(self, factor: int) -> tuple[int, int]:
        """(h, w) of a grid of `factor` pixels a side."""
        return self.height // factor, self.width // factor


def given_motion_frames(config: VQVAEConfig, given_frames: int) -> int:
    """How many of the first frames' motion tokens are known from the K given frames alone.

    The rule (Eq. 12): pools that lie wholly inside the first K frames are given. BAIR's one pool of 16 with K = 1
    gives none.

    Raises:
        ConfigError: K is not in [0, T).
    """
    if not 0 <= given_frames < config.frames:
        raise ConfigError(
            "given_frames",
            given_frames,
            f"must be at least 0 and below the clip's {config.frames} frames",
            f"0 to {config.frames - 1} would fit",
        )
    return given_frames // config.pool_frames * config.pool_frames
