"""Settings of a training, the same for both stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from moso.config import check_choices
from moso.errors import ConfigError


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of the optimizer.

    Attributes:
        name: "adamw"; "adam" (the released transformer code's); "muon": Muon for the matrices of linear and convolution
            layers, AdamW for all else (the recipe of embedded-run.md: 0.02 and 2e-3).
        learning_rate: peak rate, of the matrices where `name` is "muon". 2e-4: the paper's (tables.md, all data sets).
        adamw_learning_rate: peak rate of the parameters that "muon" leaves to AdamW; not used otherwise. No source but
            embedded-run.md.
        betas: decay rates of Adam's moments; torch's defaults, the paper names none.
        epsilon: added to the denominator of Adam's update.
        weight_decay: decoupled ("adam": L2) decay of matrices and kernels; vectors are never decayed. No source: off.
        momentum: Muon's (Nesterov); 0.95 as in Jordan et al. 2024.
        iterations: Newton-Schulz iterations of Muon; 5 as in Jordan et al. 2024.
        fused: Adam's update in one kernel; false: operation by operation, to compare with.
        adamw_parameters: patterns (fnmatch) of parameter names that "muon" leaves to AdamW beside those that it
            leaves anyway (see optimizer.py); one that matches no parameter is refused.
    """

    name: Literal["adamw", "adam", "muon"] = "adamw"
    learning_rate: float = 2e-4
    adamw_learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.95
    iterations: int = 5
    adamw_parameters: tuple[str, ...] = ()
    fused: bool = True

    def __post_init__(self) -> None:
        check_choices(self)
        _above("learning_rate", self.learning_rate, 0)
        _above("adamw_learning_rate", self.adamw_learning_rate, 0)
        _above("epsilon", self.epsilon, 0)
        _at_least("weight_decay", self.weight_decay, 0)
        _at_least("iterations", self.iterations, 1)
        _share("momentum", self.momentum)
        for i, beta in enumerate(self.betas):
            _share(f"betas[{i}]", beta)


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the loop. Budgets are steps, never seconds: a time budget makes the result depend on the machine.

    Attributes:
        steps: optimizer steps in all.
        batch: samples a step, over all workers.
        optimizer: see OptimizerConfig.
        schedule: of the learning rate after the warm-up: "constant", or "cosine" to 0 at the last step. Table C.1 gives
            the VQVAE cosine on UCF101, BAIR, KTH 64, KTH 128 and RoboNet 64, and '-' on RoboNet 256 and KITTI; it names
            none for the transformer, and the released code has none there.
        warmup: share of the steps, in [0, 1), over which the rate rises linearly from 0.
        gradient_clip: largest norm of the whole gradient; 0: not clipped.
        ema_decay: decay of the average of the weights that validation and the result use; 0: no average.
        precision: "float32"; "bf16" or "fp16" by autocast; "auto": float32 on a CPU (bf16 is up to 90 times slower than
            float32 on CPUs without its instructions), bf16 on CUDA; "fastest": bf16 also on CPUs that have its
            instructions, so that the result depends on the machine. The log says what was taken, and why.
        channels_last: keep 4-D weights in the channels_last layout (2 to 4 times faster convolutions on a CPU).
        deterministic: ask torch for deterministic algorithms. On a CPU equal runs give equal bits; on CUDA torch warns
            where an operation has none.
        checkpoint_every: steps between checkpoints. A checkpoint of a 50 MB model with its optimizer state takes 0.2 to
            0.5 s to write and sync; the default, 200 steps of 0.3 s, keeps that below 1% and loses a minute at a kill.
        keep_checkpoints: how many of the newest stay; 2, so that a damaged one does not cost the run.
        keep_best: whether the best stays, too: of the checkpoints at whose step there was a validation, by the figure
            that the objective names (psnr of Stage I, motion_cross_entropy of Stage II).
        background_checkpoints: whether the training goes on while a checkpoint is written. It takes as much main
            memory as a checkpoint has bytes; false: the training waits, and on a CPU nearly nothing is copied.
        validate_every: steps between validations, the last step always included; 0: never.
        log_every: steps between points of the curves; each point is the mean over the steps since the last one.
        prefetch: batches prepared ahead in a background thread; 0: none, prepared in the loop.
        accumulation: parts in which a worker takes its share of the batch, one after the other, before the one update:
            less memory, the same step up to rounding (and dropout's draws); 1: the whole at once.
        recompute: drop the activations inside the networks' blocks and compute them again for the gradient: the same
            gradient with less memory, for about a third more time.
        fused_attention: scaled_dot_product_attention; false: the written-out product, to compare with.
        compile: torch.compile of the networks' blocks. Off: it takes a compiler, and minutes at the start. Where it
            fails, the training is refused; nothing goes on uncompiled.
        pin_memory: on CUDA, batches are prepared in page-locked memory; no effect on a CPU.
        peak_tflops: of the device in this precision, which model FLOPs utilisation is measured by; 0: that of a large
            matrix product is measured.
        profile_steps: steps, from a start's second one on, whose torch.profiler trace is written into the folder
            traces/ beside the work folder of the training; 0: none.
    """

    steps: int
    batch: int
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = 0.0
    gradient_clip: float = 0.0
    ema_decay: float = 0.0
    precision: Literal["auto", "fastest", "float32", "bf16", "fp16"] = "auto"
    channels_last: bool = False
    deterministic: bool = True
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    keep_best: bool = True
    background_checkpoints: bool = True
    validate_every: int = 0
    log_every: int = 20
    prefetch: int = 2
    accumulation: int = 1
    recompute: bool = False
    fused_attention: bool = True
    compile: bool = False
    pin_memory: bool = True
    peak_tflops: float = 0.0
    profile_steps: int = 0

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("steps", "batch", "checkpoint_every", "keep_checkpoints", "log_every", "accumulation"):
            _at_least(name, getattr(self, name), 1)
        for name in ("gradient_clip", "validate_every", "prefetch", "profile_steps"):
            _at_least(name, getattr(self, name), 0)
        _at_least("peak_tflops", self.peak_tflops, 0)
        _share("warmup", self.warmup)
        _share("ema_decay", self.ema_decay)
        if self.accumulation > self.batch:
            raise ConfigError("accumulation", self.accumulation, f"a batch of {self.batch} has no more parts")


def _at_least(field: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(field, value, f"must be at least {least}")


def _above(field: str, value: float, bound: float) -> None:
    if not value > bound:
        raise ConfigError(field, value, f"must be above {bound}")


def _share(field: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ConfigError(field, value, "must lie in [0, 1)")
