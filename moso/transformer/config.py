"""Settings of Stage II: the model, its loss, its sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from moso.choices import SceneObject, Schedule
from moso.config import check_choices
from moso.errors import ConfigError


@dataclass(frozen=True)
class TransformerConfig:
    """Settings of TransformerSO, G and M. The defaults are the paper's (C.1: all data sets but KITTI).

    Attributes:
        wiring: "two": TransformerSO and G with one set of weights, and TransformerM (Sec. 3.2). "single": one
            bidirectional network over all tokens (Table 6's "single Trans."; moso/transformer/single.py).
        single_blocks: blocks of that one network. None: as many as give both wirings the same number of parameters,
            scene_object_blocks + 1.5 motion_blocks, 28 by default. The paper prints 286M for it, and no wiring: 30
            blocks come nearest.
        embedding: width E of token and position embeddings (758: as printed, and in the released code).
        hidden: width of the blocks; embeddings are projected to it.
        mlp: width of the blocks' hidden layer.
        heads: attention heads; they must divide `hidden`.
        dropout: on embeddings, attention weights and every residual branch, in [0, 1).
        scene_object_blocks: blocks of TransformerSO and G (one set of weights).
        motion_blocks: blocks of TransformerM.
        positions: "sinusoidal", fixed sines of row, column and frame behind a LayerNorm (released code, whose
            positions in a grid knew the column only); "learned", a free vector a place (deviation: with a fixed camera
            a place has a meaning of its own).
        activation: of the MLP; "relu2" (the square of ReLU) is a deviation.
        qk_norm: deviation. Queries and keys are brought to unit mean square, with a learned scale.
        merged_scene_object: deviation. Scene and object embeddings of one place share one position (equal grids only):
            half as many positions in SO and G.
        depthwise: deviation. Each block starts with a depthwise 3x3 convolution over each grid, added to its input and
            zero at the start.
        temporal_depthwise: deviation. The same over 3 frames at one place, in TransformerM.
        code_embedding: deviation. Embedding and output layer are linear in the code vectors, plus a learned part.
        copy_bias: deviation. A learned, place-dependent bias towards the pseudo clip's token in SO.
        motion_copy_bias: deviation. The same in M, towards the token at this place in the nearest earlier frame where
            it is known.
        show_given_motion: deviation. The given motion tokens of a place are added to what SO, G and (in every frame) M
            read there.
        show_codes: deviation. The scene and object tokens (pseudo and predicted) around a place are added to what M
            reads there in every frame.
        show_guidance_map: deviation. The same with the outputs of TransformerG at its scene and object positions.
        show_nearest: deviation. The token at this place in the nearest earlier frame where it is known, and how many
            frames ago, are added to what M reads at a masked position.
    """

    wiring: Literal["two", "single"] = "two"
    single_blocks: int | None = None
    embedding: int = 758
    hidden: int = 1024
    mlp: int = 2048
    heads: int = 8
    dropout: float = 0.1
    scene_object_blocks: int = 16
    motion_blocks: int = 8
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    activation: Literal["gelu", "relu2"] = "gelu"
    qk_norm: bool = False
    merged_scene_object: bool = False
    depthwise: bool = False
    temporal_depthwise: bool = False
    code_embedding: bool = False
    copy_bias: bool = False
    motion_copy_bias: bool = False
    show_given_motion: bool = False
    show_codes: bool = False
    show_guidance_map: bool = False
    show_nearest: bool = False

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("embedding", "hidden", "mlp", "heads", "scene_object_blocks", "motion_blocks"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1")
        if self.hidden % self.heads:
            divisors = [n for n in range(1, self.hidden + 1) if self.hidden % n == 0]
            nearest = min(divisors, key=lambda n: abs(n - self.heads))
            raise ConfigError("heads", self.heads, f"must divide hidden = {self.hidden}", f"{nearest} would fit")
        if not 0 <= self.dropout < 1:
            raise ConfigError("dropout", self.dropout, "must lie in [0, 1)")
        if self.positions == "sinusoidal" and self.embedding < 4:
            raise ConfigError("embedding", self.embedding, "must be at least 4 for sinusoidal positions")
        if self.single_blocks is not None and self.single_blocks < 1:
            raise ConfigError("single_blocks", self.single_blocks, "must be at least 1, or null")
        if self.wiring == "single":
            for name in ("show_given_motion", "show_codes", "show_guidance_map", "show_nearest"):
                if getattr(self, name):
                    rule = "wiring = 'single' has no TransformerM to show anything to: it reads every token itself"
                    raise ConfigError(name, True, rule, "set it to false")


@dataclass(frozen=True)
class LossConfig:
    """Settings of the loss: the mean of three cross-entropies (scene, object, masked motion tokens).

    Attributes:
        changed_weight: weight of scene and object tokens that differ between pseudo and target clip. The paper's text
            is a plain cross-entropy, which is 1 and 1. The default, 5 and 1, is the released code's: most tokens are
            those of the pseudo clip, and without weights the loss is mostly about what needs no prediction.
        unchanged_weight: weight of the others.
        guidance_from: the scene and object tokens that TransformerG reads in training. "true": the target's. It is the
            default because the paper's text says so (Sec. 3.2), M then learns from content that fits its motion, and
            the prototype saw no difference (docs/measurements.md). "sampled": drawn from TransformerSO, as the released
            code does, which is what sampling feeds it later; "argmax": its likeliest ones, which is what sampling with
            `scene_object: argmax` feeds it.
        unconditional_share: share of the training samples that are trained with nothing given: pseudo scene and object
            tokens all the mask token, no motion token given (Sec. 4.2). 0, the default, is the paper's: it trains one
            model for prediction and another, with K = 0, for unconditional generation. In between, one transformer
            learns both. Which samples: by seed and position in the training.
        motion_weight: weight of the motion tokens' part against scene and object, 1 each (released code: 1).
        moving_weight: deviation where not 1. Weight of masked motion tokens that differ from the one at their place in
            the frame before.
        label_smoothing: deviation where not 0. Share of the target spread over all tokens.
    """

    changed_weight: float = 5.0
    unchanged_weight: float = 1.0
    guidance_from: Literal["true", "sampled", "argmax"] = "true"
    motion_weight: float = 1.0
    moving_weight: float = 1.0
    label_smoothing: float = 0.0
    unconditional_share: float = 0.0

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("changed_weight", "unchanged_weight", "motion_weight", "moving_weight"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "must be above 0")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError("label_smoothing", self.label_smoothing, "must lie in [0, 1)")
        if not 0 <= self.unconditional_share <= 1:
            raise ConfigError("unconditional_share", self.unconditional_share, "must lie in [0, 1]")


@dataclass(frozen=True)
class SamplingConfig:
    """Settings of sampling (Sec. 3.2).

    Attributes:
        steps: S, in which the motion tokens are filled in (paper: 16); with wiring "single" all tokens.
        schedule: gamma, the share that stays masked (paper: cosine).
        motion_temperature: of the motion tokens' distribution; 0 takes the likeliest. The paper names none: 1.
        confidence_noise: factor of the Gumbel noise on the log-probabilities that decide which tokens are kept. The
            default 3 is the released code's for BAIR and RoboNet 64; its KITTI has 0 (the presets say so). KTH, UCF101
            and RoboNet 256 have no source: there the default is our choice.
        scene_object: "sample" (paper: "randomly sampled") or "argmax", the likeliest tokens.
        scene_object_temperature: of the scene and object tokens' distribution where they are sampled.
        top_k: sample among the k likeliest tokens only; 0: among all.
    """

    steps: int = 16
    schedule: Schedule = "cosine"
    motion_temperature: float = 1.0
    confidence_noise: float = 3.0
    scene_object: SceneObject = "sample"
    scene_object_temperature: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        check_choices(self)
        if self.steps < 1:
            raise ConfigError("steps", self.steps, "must be at least 1")
        for name in ("motion_temperature", "confidence_noise", "scene_object_temperature", "top_k"):
            if not getattr(self, name) >= 0:
                raise ConfigError(name, getattr(self, name), "must be at least 0")
