"""How a step of Stage I's training is made, beside its losses and the loop's settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from moso.errors import ConfigError
from moso.vqvae.decompose import HIGH, LOW
from moso.vqvae.quantizer import CodebookConfig


@dataclass(frozen=True)
class PreprocessingConfig:
    """Algorithm 1 before the encoders, in training's first steps only (Sec. 4.1: 50k)."""

    until_step: int = 50_000
    """0: raw frames from the start."""
    low: float = LOW
    high: float = HIGH

    def __post_init__(self) -> None:
        if self.until_step < 0:
            raise ConfigError("until_step", self.until_step, "must not be negative", "0 leaves the preprocessing out")
        if not 0 <= self.low <= self.high <= 1:
            raise ConfigError(
                "low",
                self.low,
                f"thresholds must keep 0 <= low <= high <= 1, and high is {self.high}",
                "the paper's are 0.1 and 0.9",
            )


@dataclass(frozen=True)
class SoftStartConfig:
    """No quantisation until motion is in use, then a codebook by k-means of the encoders' outputs (embedded run; the
    paper has none).

    Quantised from the start, a small model finds still pictures first and its motion tokens stay empty. The start
    ends at the first check at which freezing the motion features costs the reconstruction `motion_gain` dB, never
    before `least` and never after `most`.
    """

    least: float = 0.0
    most: float = 0.0
    """Shares of the steps. most = 0: no soft start and a random codebook, as in the paper."""
    motion_gain: float = 3.0
    """dB."""
    check_every: int = 10
    """Steps between checks."""
    check_clips: int = 8
    """Training clips, evenly spaced, that a check draws."""
    vectors_per_code: int = 32
    """Vectors for k-means, for each code."""
    iterations: int = 10
    """Of k-means."""

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most <= 1:
            raise ConfigError(
                "least",
                self.least,
                f"shares must keep 0 <= least <= most <= 1, and most is {self.most}",
                "0.03 and 0.1 would fit",
            )
        for name in ("check_every", "check_clips", "vectors_per_code", "iterations"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1", "most = 0 turns the soft start off")


@dataclass(frozen=True)
class ObjectiveConfig:
    """How Stage I is trained, beside its losses and the loop's settings."""

    decode_pools: int = 0
    """Working pools of a clip that are motion-encoded and drawn at a step, at random; 0: all. Nothing crosses pools
    and the decoder is blind to time, so the gradient stays unbiased; scene and object encoders always see the whole
    clip. While the video discriminator is on, which looks at whole clips, all are drawn whatever stands here."""
    decode_frames: int = 0
    """Frames of each of these pools that the decoder draws, at random; 0: all. The decoder is blind to time, so this
    gradient is unbiased too. The pools are encoded and quantised as a whole."""
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    soft_start: SoftStartConfig = field(default_factory=SoftStartConfig)
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    validation_clips: int = 32
    """Validation clips, evenly spaced, whose reconstruction is measured."""

    def __post_init__(self) -> None:
        for name in ("decode_pools", "decode_frames", "validation_clips"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    name,
                    getattr(self, name),
                    "must not be negative",
                    "0 is allowed: all pools, all frames, no validation",
                )
