"""What `make bench` measures and how: rows, variants, and the settings that a variant turns on or off."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from components.train_transformer.step import Config as TransformerStep
from components.train_vqvae.step import Config as VQVAEStep
from moso.config import load_preset, resolve_section
from moso.training.config import TrainingConfig
from moso.training.precision import choose

Row = Literal["vqvae_train", "encode", "decode", "codebook", "transformer_train", "sampling", "many_samples"]
ROWS: tuple[Row, ...] = get_args(Row)
Variant = Literal["ours", "off", "plain", "bf16", "compiled", "fewer"]
"""ours: moso with its switches on; off: the same code with them off; plain: bench.plain; bf16: ours by autocast;
compiled: ours with training.compile; fewer: ours with as many steps of sampling as the embedded run takes."""
FEWER_STEPS_OF = "sim_push/default"


@dataclass(frozen=True)
class Case:
    """One row at one preset.

    Attributes:
        row: which piece of work.
        preset: dataset/preset.
        batch: clips at once; of `many_samples`: samples of one video.
        overrides: settings laid over the preset's, section by section; {} is the preset.
    """

    row: Row
    preset: str
    batch: int
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """Something to be timed.

    Attributes:
        work: one call is one measurement.
        amount: of `unit` in a call.
        unit: "clips", "vectors" or "frames".
        switches: what is on, or off: settings and their values.
        precision: "float32", "bf16" or "fp16".
        compiled: its first call compiles.
    """

    work: Callable[[], None]
    amount: int
    unit: str
    switches: str
    precision: str = "float32"
    compiled: bool = False


class Settings:
    """A case's settings as a variant has them.

    Attributes:
        vqvae, transformer: the steps' sections, their `training` switched.
        precision: of both.
        given_frames: K.
        on: moso's switches are on.
    """

    def __init__(self, case: Case, variant: Variant, device: torch.device) -> None:
        self.case, self.variant, self.device = case, variant, device
        params = {**_params(case.preset), **case.overrides}
        vqvae = resolve_section(VQVAEStep, "train_vqvae", params)
        transformer = resolve_section(TransformerStep, "train_transformer", params)
        given = case.overrides.get("extract_tokens", load_preset(case.preset)["extract_tokens"])
        self.given_frames: int = given["given_frames"]
        self.on = variant not in ("off", "plain")
        self.vqvae = dataclasses.replace(vqvae, training=switched(vqvae.training, variant, case.batch))
        self.transformer = dataclasses.replace(
            transformer, training=switched(transformer.training, variant, case.batch)
        )
        if variant == "fewer":
            fewer = resolve_section(TransformerStep, "train_transformer", _params(FEWER_STEPS_OF)).sampling.steps
            sampling = dataclasses.replace(self.transformer.sampling, steps=min(fewer, transformer.sampling.steps))
            self.transformer = dataclasses.replace(self.transformer, sampling=sampling)
        # one for both stages: they differ in nothing that a variant sets
        self.precision = choose(self.transformer.training.precision, device)


def switched(training: TrainingConfig, variant: Variant, batch: int) -> TrainingConfig:
    """A preset's training with the switches of a variant; for "plain", which reads none of them, as "off"."""
    if variant in ("off", "plain"):
        return dataclasses.replace(
            training,
            batch=batch,
            precision="float32",
            channels_last=False,
            fused_attention=False,
            compile=False,
            optimizer=dataclasses.replace(training.optimizer, fused=False),
        )
    return dataclasses.replace(
        training,
        batch=batch,
        precision="bf16" if variant == "bf16" else "auto",
        channels_last=True,
        fused_attention=True,
        compile=variant == "compiled",
        optimizer=dataclasses.replace(training.optimizer, fused=True),
    )


def said(settings: Mapping[str, object]) -> str:
    """Settings in words: "channels_last on, precision float32, steps 16"."""
    words = {True: "on", False: "off"}
    return ", ".join(f"{name} {words[value] if isinstance(value, bool) else value}" for name, value in settings.items())


def _params(preset: str) -> dict[str, Any]:
    dataset, name = preset.split("/")
    return {"dataset": dataset, "preset": name}
