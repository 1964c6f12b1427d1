"""The network of Stage I as settings, and every rule that they must keep.

Defaults are the paper's, or the released code's where the paper is silent; the field says which. The small preset of
the embedded run uses the
same fields: there is no second network.
"""

from __future__ import annotations

from dataclasses import dataclass

from moso.errors import ConfigError

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
    """N, shared by the three components (Table 11)."""
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
        names = ("scene_factor", "object_factor", "motion_factor")
        for name in names:
            factor = getattr(self, name)
            if not is_power_of_two(factor) or factor < 2:
                raise ConfigError(name, factor, "must be a power of two, 2 or more", "2, 4, 8, 16 or 32 would fit")
        for finer, coarser in (names[:2], names[1:]):
            if getattr(self, finer) > getattr(self, coarser):
                raise ConfigError(
                    coarser,
                    getattr(self, coarser),
                    f"factors must be ordered scene <= object <= motion, and {finer} is {getattr(self, finer)}",
                    f"{getattr(self, finer)} or more would fit",
                )
        # the coarsest grid is the motion's or the third scale of the merge module, whichever is coarser
        coarsest = max(self.motion_factor, self.scene_factor * 2 ** (SCALES - 1))
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
