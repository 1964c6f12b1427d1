"""When a candidate replaces the champion: the settings of the decision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from moso.config import check_choices
from moso.errors import ConfigError
from moso.evaluation.metrics import higher_is_better
from moso.evaluation.statistics import CONFIDENCE, RESAMPLES


@dataclass(frozen=True)
class PromotionPolicy:
    """When a candidate replaces the champion.

    Attributes:
        metric: dotted name of a figure in metrics.json. PSNR of the prediction: what the training is for, in dB.
        higher_is_better: the metric's direction.
        margin: least gain, in the metric's unit; a gain of 0 never promotes. No source: the default takes any gain.
        require: "confident" asks that the whole interval of the gain, over the same clips, lies above the margin;
            "gain" that the mean alone reaches it. No source: the default is the one that chance seldom passes. A figure
            that has no value a clip (FVD), or a champion of before such tables were filed, is decided as by "gain".
        confidence: level of the interval, in (0.5, 1). The usual 0.95: of equally good candidates 1 in 40 passes, but
            with few episodes more, as the bootstrap's intervals are then too narrow (of 2000 pairs of normal
            differences 2.8 % with 128 episodes, 4.2 % with 20, 7.6 % with 6).
        resamples: draws of the bootstrap.
        seed: of the bootstrap: the same two models always give the same decision.
        guards: dotted name of a figure -> tolerance, in its unit, at least 0. None of them may get worse by more. With
            `require: confident` that must be shown: the whole interval of the gain lies at or above -tolerance (a test
            of non-inferiority), so that few clips speak for the champion; with "gain", and for a figure without a value
            a clip (FVD), the mean alone is held against it. A guarded figure that is missing or no number is refused.
            No source: none by default; the preset sim_push/default guards SSIM.
    """

    metric: str = "prediction.psnr"
    higher_is_better: bool = True
    margin: float = 0.0
    require: Literal["confident", "gain"] = "confident"
    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES
    seed: int = 0
    guards: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choices(self)
        if not self.metric.strip("."):
            raise ConfigError(
                "metric", self.metric, "must name a figure of metrics.json", "for example prediction.psnr"
            )
        last = self.metric.rpartition(".")[2]
        if _known(last) and self.higher_is_better != higher_is_better(last):
            raise ConfigError(
                "higher_is_better",
                self.higher_is_better,
                f"{last} is better the {'higher' if higher_is_better(last) else 'lower'} it is",
                f"set it to {str(higher_is_better(last)).lower()}",
            )
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ConfigError("margin", self.margin, "must be a finite number of at least 0")
        if not 0.5 < self.confidence < 1:
            raise ConfigError("confidence", self.confidence, "must lie in (0.5, 1)", "0.95 is usual")
        if self.resamples < 100:
            raise ConfigError("resamples", self.resamples, "must be at least 100", "10000 is usual")
        if self.seed < 0:
            raise ConfigError("seed", self.seed, "must be at least 0")
        for name, tolerance in self.guards.items():
            _check_guard(name, tolerance, self.metric)

    @property
    def least_episodes(self) -> int:
        """Episodes below which no interval can have the level: 6 at 0.95.

        Equally good models are as likely to differ one way as the other in each episode, so that n episodes all agree
        by chance in 2^(1 - n) of all cases (the sign test), and the bootstrap's interval then excludes 0 whatever n.
        """
        return math.ceil(1 - math.log2(1 - self.confidence))


def _known(metric: str) -> bool:
    """Whether the metric's direction is known by its name."""
    return metric in ("psnr", "ssim") or metric.startswith(("lpips", "fvd", "fid"))


def _check_guard(name: str, tolerance: float, metric: str) -> None:
    here = f"guards.{name}"
    if name == metric:
        raise ConfigError(here, tolerance, "is the metric that decides, which must get better anyway", "guard others")
    if not _known(name.rpartition(".")[2]):
        raise ConfigError(here, tolerance, "its direction is not known", "guard psnr, ssim, lpips_*, fvd or fid")
    if isinstance(tolerance, bool) or not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError(here, tolerance, "must be a finite number of at least 0, in the figure's unit")
