"""The two stages' trainings as a preset describes them, on random data of its sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from moso.config import build, load_preset, merge
from moso.errors import ConfigError
from moso.planning.perceptual import lpips_without_weights
from moso.planning.samples import RandomClips, RandomTokens
from moso.tokens.store import StoreSettings
from moso.training.config import TrainingConfig
from moso.training.objective import Objective
from moso.transformer.config import LossConfig as TransformerLossConfig
from moso.transformer.config import TransformerConfig
from moso.transformer.model import MosoTransformer
from moso.transformer.objective import TransformerObjective
from moso.vqvae.config import VQVAEConfig, given_motion_frames
from moso.vqvae.losses import LossConfig
from moso.vqvae.model import VQVAE
from moso.vqvae.objective import VQVAEObjective
from moso.vqvae.objective_config import ObjectiveConfig

Stage = Literal["vqvae", "transformer"]
STAGES: tuple[Stage, ...] = ("vqvae", "transformer")
SECTIONS = {"vqvae": "train_vqvae", "transformer": "train_transformer"}
READ = {
    "train_vqvae": ("model", "loss", "objective", "training"),
    "extract_tokens": ("given_frames",),
    "train_transformer": ("model", "loss", "training", "validation_clips"),
}
"""Settings that a plan depends on."""
SEED = 0
VALIDATED = {"vqvae": 8, "transformer": 16}
"""Clips that a validation looks at here: as many as it looks at at once."""


@dataclass(frozen=True)
class Experiment:
    """What a preset says about both trainings.

    Attributes:
        vqvae, transformer: the networks.
        vqvae_loss, objective, transformer_loss: how they are trained.
        training: stage -> settings of the loop.
        given_frames: K.
        validation_clips: of the transformer's validation.
    """

    vqvae: VQVAEConfig
    transformer: TransformerConfig
    vqvae_loss: LossConfig
    objective: ObjectiveConfig
    transformer_loss: TransformerLossConfig
    training: Mapping[str, TrainingConfig]
    given_frames: int
    validation_clips: int = 64

    @classmethod
    def of_preset(cls, name: str, overrides: Mapping[str, Any] | None = None) -> Experiment:
        """What moso/presets/<name>.yaml says, `overrides` (section -> settings, as in params.yaml) laid over it.

        Raises:
            ConfigError: no such preset, a setting that is wrong, or an override that no plan depends on.
        """
        sections = load_preset(name)
        for section, values in (overrides or {}).items():
            _check_read("section", section, READ)
            for setting in values if isinstance(values, Mapping) else ():
                _check_read(section, setting, READ[section])
        sections = merge(sections, overrides or {})
        one, two = (dict(sections.get(SECTIONS[stage]) or {}) for stage in STAGES)

        def part(stage: Stage, schema: Any, of: str) -> Any:
            values = (one if stage == "vqvae" else two).get(of) or {}
            return build(schema, values, at=f"{SECTIONS[stage]}.{of}")

        return cls(
            vqvae=part("vqvae", VQVAEConfig, "model"),
            transformer=part("transformer", TransformerConfig, "model"),
            vqvae_loss=part("vqvae", LossConfig, "loss"),
            objective=part("vqvae", ObjectiveConfig, "objective"),
            transformer_loss=part("transformer", TransformerLossConfig, "loss"),
            training={stage: part(stage, TrainingConfig, "training") for stage in STAGES},
            given_frames=int((sections.get("extract_tokens") or {}).get("given_frames", 0)),
            validation_clips=int(two.get("validation_clips", 64)),
        )

    def with_batch(self, batch: int, stage: Stage | None = None) -> Experiment:
        """The same with another batch, of one stage or of both."""
        return self.with_training(stage, batch=batch)

    def with_training(self, stage: Stage | None = None, **changes: Any) -> Experiment:
        """The same with other settings of the loop, of one stage or of both.

        Raises:
            ConfigError: a setting that is wrong.
        """
        chosen = STAGES if stage is None else (stage,)
        changed: dict[str, TrainingConfig] = {
            name: dataclasses.replace(self.training[name], **changes) for name in chosen
        }
        return dataclasses.replace(self, training={**self.training, **changed})

    @property
    def store(self) -> StoreSettings:
        """The token store that these settings lead to."""
        given = given_motion_frames(self.vqvae, self.given_frames)
        return StoreSettings(self.vqvae.grids, self.vqvae.codebook_size, "", self.given_frames, given)


def _check_read(field: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ConfigError(field, name, "a plan does not depend on it", f"it does on {', '.join(known)}")


def validation_clips(experiment: Experiment, stage: Stage, most: int | None = None) -> int:
    """Clips of a stage's validation, `most` at most; of large enough a data set."""
    wanted = experiment.objective.validation_clips if stage == "vqvae" else experiment.validation_clips
    return wanted if most is None else min(wanted, most)


def make_objective(experiment: Experiment, stage: Stage, device: torch.device) -> Objective:
    """The stage's objective with a fresh model on `device`; its clips or tokens are random.

    Under a FakeTensorMode it takes no memory. The perceptual loss has the published network's layers and no weights.
    """
    training = experiment.training[stage]
    count = max(2 * training.batch, VALIDATED[stage])
    if stage == "transformer":
        return _transformer(experiment, count, device)
    config = experiment.vqvae
    clips = RandomClips(count, (config.frames, config.height, config.width))
    loss = experiment.vqvae_loss
    with device:  # .to() refuses fake parameters
        model = VQVAE(config)
    objective = VQVAEObjective(
        model,
        dataclasses.replace(
            experiment.objective, validation_clips=validation_clips(experiment, stage, VALIDATED[stage])
        ),
        dataclasses.replace(loss, perceptual=0.0) if loss.perceptual else loss,
        training,
        training_clips=clips,
        validation_clips=clips,
        seed=SEED,
    )
    if loss.perceptual:
        objective.loss_config, objective.perceptual = loss, lpips_without_weights(device)
    objective.quantised_from = 0  # the soft start, which quantises nothing, takes less
    return objective


def _transformer(experiment: Experiment, count: int, device: torch.device) -> TransformerObjective:
    settings, config = experiment.store, experiment.vqvae
    loss = experiment.transformer_loss
    with device:
        vectors = torch.randn(config.codebook_size, config.code_dimension)
        model = MosoTransformer(
            experiment.transformer,
            settings.grids,
            settings.codebook_size,
            vectors if experiment.transformer.code_embedding else None,
            settings.given_frames,
            settings.given_motion_frames,
            settings.codebook_digest,
            unconditional=loss.unconditional_share > 0,
        )
    store = RandomTokens(count, settings)
    clips = validation_clips(experiment, "transformer", VALIDATED["transformer"])
    return TransformerObjective(model, store, loss, seed=SEED, validation_clips=clips)
