"""Steps of a preset's training by the real loop, on random data of its sizes, handed to whoever wants to look at them.

It uses nothing that the commits before issue 15 do not have, so that a profile can be taken of them too
(docs/performance.md has the command).
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch.profiler import record_function

from bench.operators import DATA
from components.train_transformer.step import Config as TransformerStep
from components.train_vqvae.step import Config as VQVAEStep
from components.train_vqvae.step import build_model
from moso.config import build, load_preset
from moso.planning.samples import RandomClips, RandomTokens
from moso.step import Context
from moso.tokens.store import StoreSettings
from moso.training.config import TrainingConfig
from moso.training.loop import train
from moso.training.work import WorkFolder
from moso.transformer.model import MosoTransformer
from moso.transformer.objective import TransformerObjective
from moso.vqvae.config import given_motion_frames
from moso.vqvae.objective import VQVAEObjective

Stage = Literal["vqvae", "transformer"]


class Watcher(Protocol):
    """Who looks at the steps."""

    def __call__(self, step: int) -> None:
        """Step `step` is about to begin."""

    def within(self, label: str) -> None:
        """What comes belongs to `label`; "": to the step itself."""


def run_steps(stage: Stage, preset: str, steps: int, device: torch.device, watcher: Watcher) -> None:
    """Train a stage for so many steps; `watcher` is called before each and once after the last.

    Batches are prepared in the loop (no prefetch), within a profiler's record named DATA; there is no validation, and a
    checkpoint only behind the last step, which is one more than asked for. Tokens are quantised from the first step on.
    """
    objective, training = _vqvae(preset, device) if stage == "vqvae" else _transformer(preset, device)
    training = dataclasses.replace(
        training, steps=steps + 1, prefetch=0, validate_every=0, checkpoint_every=steps + 1, log_every=steps + 1
    )
    prepare, before_step = objective.prepare, objective.before_step

    def prepared(samples: Sequence[Any]) -> Any:
        watcher.within("data")
        with record_function(DATA):
            batch = prepare(samples)
        watcher.within("")
        return batch

    def stepping(step: int, world: Any) -> None:
        watcher(step)
        before_step(step, world)

    objective.prepare, objective.before_step = prepared, stepping
    with tempfile.TemporaryDirectory(prefix="moso-profile-") as work:
        train(
            objective,
            training,
            seed=0,
            work=WorkFolder(Path(work), "profile"),
            context=Context(work=Path(work)),
            title=f"train_{stage}",
            identity={},
        )


def _vqvae(preset: str, device: torch.device) -> tuple[Any, TrainingConfig]:
    step = build(VQVAEStep, load_preset(preset)["train_vqvae"], "train_vqvae")
    config = step.model
    clips = RandomClips(4 * step.training.batch, (config.frames, config.height, config.width))
    objective = VQVAEObjective(
        build_model(step).to(device),
        step.objective,
        step.loss,
        step.training,
        training_clips=clips,
        validation_clips=None,
        seed=0,
    )
    objective.quantised_from = 0
    return objective, step.training


def _transformer(preset: str, device: torch.device) -> tuple[Any, TrainingConfig]:
    sections = load_preset(preset)
    step = build(TransformerStep, sections["train_transformer"], "train_transformer")
    config, given = build(VQVAEStep, sections["train_vqvae"]).model, sections["extract_tokens"]["given_frames"]
    given_motion = given_motion_frames(config, given)
    vectors = torch.randn(config.codebook_size, config.code_dimension)
    model = MosoTransformer(
        step.model,
        config.grids,
        config.codebook_size,
        vectors if step.model.code_embedding else None,
        given,
        given_motion,
        "bench",
    ).to(device)
    store = RandomTokens(
        4 * step.training.batch, StoreSettings(config.grids, config.codebook_size, "bench", given, given_motion)
    )
    return TransformerObjective(model, store, step.loss, seed=0), step.training
