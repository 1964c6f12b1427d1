"""train_vqvae: frame cache -> Stage I.

The output folder `vqvae`:

    model.safetensors    weights and codebook
    config.json          VQVAEConfig
    history.csv          the training's curve

With the input `parent`, the folder `vqvae` of another training, it starts from that one's weights and codebook.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from moso.config import to_dict
from moso.device import device_of
from moso.errors import ConfigError, DataError
from moso.frames.cache import FORMAT as FRAMES_FORMAT
from moso.frames.cache import VERSION as FRAMES_VERSION
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, windows
from moso.provenance import read_provenance
from moso.step import Context, Paths
from moso.training.config import TrainingConfig
from moso.training.parent import INPUT, start_from_
from moso.training.random import key_seed
from moso.training.stage import train_stage
from moso.vqvae.config import VQVAEConfig
from moso.vqvae.losses import LossConfig
from moso.vqvae.model import CONFIG, FORMAT, VERSION, VQVAE, WEIGHTS, save_vqvae
from moso.vqvae.objective import VQVAEObjective
from moso.vqvae.objective_config import ObjectiveConfig, SoftStartConfig


@dataclass(frozen=True)
class Config:
    """Section `train_vqvae`.

    Attributes:
        model: the network.
        training: the loop's settings.
        loss: terms and their weights.
        objective: how a step is made: preprocessing, soft start, codebook, frames drawn.
        seed: of the start values, the order of the data and every random draw.
    """

    model: VQVAEConfig
    training: TrainingConfig
    loss: LossConfig = field(default_factory=LossConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    seed: int = 0


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Train Stage I on the clips of the training episodes and write the output folder `vqvae`.

    Every worker of the context's world calls it; rank 0 alone holds the work folder and writes.

    Raises:
        StopRequested: the stop signal was raised; the same call goes on from the checkpoint.
        ConfigError: frames of another size than the model's.
        DataError: no training episode is as long as a clip.
        MismatchError: a network that is not the parent's.
    """
    parent = inputs.get(INPUT)
    digests = {"frames": read_provenance(inputs["frames"], format=FRAMES_FORMAT, version=FRAMES_VERSION)["digest"]}
    if parent is not None:
        digests[INPUT] = read_provenance(parent, format=FORMAT, version=VERSION)["digest"]

    def build() -> VQVAEObjective:
        model = build_model(config)
        if parent is not None:
            start_from_(model, parent / WEIGHTS, to_dict(config.model), json.loads((parent / CONFIG).read_text()))
        model = model.to(device_of(context.device))
        how = config if parent is None else replace(config, objective=without_a_start(config.objective))
        return build_objective(how, model, FrameCache.open(inputs["frames"]))

    train_stage(
        "train_vqvae",
        config,
        digests,
        context,
        outputs["vqvae"],
        code=Path(__file__),
        format=FORMAT,
        version=VERSION,
        build=build,
        save=lambda objective, folder: save_vqvae(objective.model, folder),
    )


def build_model(config: Config) -> VQVAE:
    """The untrained model, its start values a function of config.seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_seed(config.seed, "start values"))
        return VQVAE(config.model)


def without_a_start(objective: ObjectiveConfig) -> ObjectiveConfig:
    """The same without what a training from drawn weights begins with.

    The soft start would put a codebook by k-means in the place of the parent's, and the preprocessing would show other
    pictures than those it is good at.
    """
    preprocessing = replace(objective.preprocessing, until_step=0)
    return replace(objective, soft_start=SoftStartConfig(), preprocessing=preprocessing)


def build_objective(config: Config, model: VQVAE, cache: FrameCache) -> VQVAEObjective:
    """What the loop trains: every window of the training episodes; validation windows that do not overlap.

    Raises:
        ConfigError, DataError: the cache does not suit the model.
    """
    for name in ("height", "width"):
        if getattr(cache, name) != getattr(config.model, name):
            raise ConfigError(
                f"model.{name}",
                getattr(config.model, name),
                f"the frames' {name} is {getattr(cache, name)}",
                f"set it to that, or preprocess.{name} to this",
            )
    length = config.model.frames
    clips = windows(cache, "train", length)
    if not clips:
        longest = int(cache.episodes["frames"].max())
        raise DataError(
            f"no training episode has {length} frames (the longest of all has {longest}); lower model.frames"
        )
    held_out = windows(cache, "validation", length, length) if "validation" in set(cache.episodes["split"]) else []
    return VQVAEObjective(
        model,
        config.objective,
        config.loss,
        config.training,
        training_clips=Clips(cache, clips, length),
        validation_clips=Clips(cache, held_out, length),
        seed=config.seed,
    )


if __name__ == "__main__":
    from components.main import main

    main("train_vqvae", Config, run)
