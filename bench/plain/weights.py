"""The plain networks with the weights of ours."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from bench.plain.transformer import PlainTransformer
from bench.plain.vqvae import PlainVQVAE
from moso.transformer.config import TransformerConfig
from moso.transformer.model import MosoTransformer
from moso.vqvae.config import VQVAEConfig
from moso.vqvae.model import VQVAE


def plain_vqvae(ours: VQVAE) -> PlainVQVAE:
    """Stage I with copies of our weights and codebook, in our mode (training or not).

    Raises:
        ValueError: settings that the plain one does not have.
    """
    _only_sizes(ours.config, VQVAEConfig, _VQVAE_FORM)
    model = PlainVQVAE(ours.config)
    for name in ("scene_encoder", "object_encoder", "motion_encoder", "decoder"):
        _copy(ours.get_submodule(name), model.get_submodule(name))
    ours_codes, codes = ours.quantizer, model.quantizer
    codes.codebook.copy_(ours_codes.codebook)
    codes.use.copy_(ours_codes.use)
    codes.sums.copy_(ours_codes.use[:, None] * ours_codes.codebook)
    return model.to(ours.codebook.device).train(ours.training)


def plain_transformer(ours: MosoTransformer) -> PlainTransformer:
    """Stage II with copies of our weights, in our mode (training or not).

    Raises:
        ValueError: settings that the plain one does not have.
    """
    _only_sizes(ours.config, TransformerConfig, _TRANSFORMER_FORM)
    model = PlainTransformer(ours.config, ours.grids, ours.codebook_size)
    _copy(ours, model)
    return model.to(ours.device).train(ours.training)


_VQVAE_FORM = (
    "decomposition", "merge", "codebooks", "stem_channels", "stem_refine", "stem_relu", "upsample_channels",
    "positions",
)  # fmt: skip
_TRANSFORMER_FORM = tuple(
    field.name for field in dataclasses.fields(TransformerConfig) if isinstance(field.default, (bool, str))
)
"""Settings that change the form of a network and not only its size: the plain one has their defaults alone."""


def _only_sizes(config: object, schema: type, form: tuple[str, ...]) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(schema)}
    for name in form:
        if getattr(config, name) != defaults[name]:
            raise ValueError(f"the plain reference has no {name} = {getattr(config, name)!r}")


@torch.no_grad()
def _copy(ours: nn.Module, plain: nn.Module) -> None:
    """Weights in the order in which the layers stand, which is the same in both."""
    theirs, mine = list(plain.state_dict().values()), list(ours.state_dict().values())
    if [tuple(x.shape) for x in theirs] != [tuple(x.shape) for x in mine]:
        raise ValueError(f"{type(plain).__name__} has not the layers of {type(ours).__name__}")
    for there, here in zip(theirs, mine, strict=True):
        there.copy_(here)
