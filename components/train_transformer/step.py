"""train_transformer: token store -> Stage II.

The output folder `transformer`:

    model.safetensors    weights
    config.json          settings, grids, given frames and the digest of the codebook (moso.transformer.model)
    sampling.json        how this model is sampled where a call says nothing else
    history.csv          the training's curve

With the input `parent`, the folder `transformer` of another training, it starts from that one's weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from moso.config import to_dict
from moso.device import device_of
from moso.errors import ConfigError
from moso.provenance import read_provenance, write_json
from moso.step import Context, Paths
from moso.tokens.store import TokenStore
from moso.training.config import TrainingConfig
from moso.training.parent import INPUT, start_from_
from moso.training.random import key_seed
from moso.training.stage import train_stage
from moso.transformer.config import LossConfig, SamplingConfig, TransformerConfig
from moso.transformer.model import CONFIG, WEIGHTS, MosoTransformer, described, save_transformer
from moso.transformer.objective import TransformerObjective

FORMAT = "moso.transformer"
VERSION = 1


@dataclass(frozen=True)
class Config:
    """Section `train_transformer`.

    Attributes:
        training: the loop's settings.
        model, loss: see TransformerConfig and LossConfig.
        sampling: written beside the weights as the model's own sampling settings; training does not read it.
        seed: of the start values, the order of the data and the masks.
        validation_clips: clips of the validation split that each validation looks at.
    """

    training: TrainingConfig
    model: TransformerConfig = field(default_factory=TransformerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    seed: int = 0
    validation_clips: int = 64

    def __post_init__(self) -> None:
        if self.validation_clips < 0:
            raise ConfigError("validation_clips", self.validation_clips, "must be at least 0")


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Train Stage II on a token store and write the output folder `transformer`.

    Every worker of the context's world calls it; rank 0 alone holds the work folder and writes.

    Raises:
        StopRequested: the stop signal was raised; the same call goes on from the checkpoint.
        ConfigError, MismatchError: settings that the store's tokens do not allow, or that are not the parent's.
    """
    parent = inputs.get(INPUT)
    digests = {"tokens": read_provenance(inputs["tokens"], format="moso.tokens", version=1)["digest"]}
    if parent is not None:
        digests[INPUT] = read_provenance(parent, format=FORMAT, version=VERSION)["digest"]

    def build() -> TransformerObjective:
        store = TokenStore.open(inputs["tokens"])
        model = build_model(config, store)
        if parent is not None:
            fine_tune_(model, parent)
        model = model.to(device_of(context.device))
        return TransformerObjective(
            model, store, config.loss, seed=config.seed, validation_clips=config.validation_clips
        )

    def save(objective: TransformerObjective, folder: Path) -> None:
        save_transformer(objective.model, folder)
        write_json(folder / "sampling.json", config.sampling)

    train_stage(
        "train_transformer",
        config,
        digests,
        context,
        outputs["transformer"],
        code=Path(__file__),
        format=FORMAT,
        version=VERSION,
        build=build,
        save=save,
    )


def build_model(config: Config, store: TokenStore) -> MosoTransformer:
    """The untrained model for the tokens of `store`, its start values a function of config.seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_seed(config.seed, "start values"))
        return MosoTransformer(
            config.model,
            store.grids,
            len(store.codebook),
            torch.as_tensor(store.codebook),
            store.given_frames,
            store.given_motion_frames,
            store.codebook_digest,
            unconditional=config.loss.unconditional_share > 0,
        )


def fine_tune_(model: MosoTransformer, parent: Path) -> None:
    """Give the untrained model the weights of a folder `transformer`.

    Raises:
        MismatchError: another network, other grids or given frames, or tokens of another codebook, which mean other
            things. Dropout alone may differ.
    """
    theirs = json.loads((parent / CONFIG).read_text())
    start_from_(model, parent / WEIGHTS, to_dict(described(model)), theirs, free=("model.dropout",))


if __name__ == "__main__":
    from components.main import main

    main("train_transformer", Config, run)
