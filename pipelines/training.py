"""The training pipeline on Kubeflow: the same seven steps and edges as dvc.yaml (a test compares them).

No `from __future__ import annotations` here: kfp reads a pipeline's annotations as objects.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import dsl

from components.config import SPECS, check_whole_pipeline, resolve_all
from components.evaluate import component as evaluate_component
from components.extract_tokens import component as extract_tokens_component
from components.ingest import component as ingest_component
from components.preprocess import component as preprocess_component
from components.promote import component as promote_component
from components.train_transformer import component as train_transformer_component
from components.train_vqvae import component as train_vqvae_component
from moso.config import to_dict
from moso.errors import ConfigError

NAME = "moso-training"


@dsl.pipeline(name=NAME, description="MOSO: raw recordings -> trained, evaluated, registered model")
def training(
    ingest: dict,
    preprocess: dict,
    train_vqvae: dict,
    extract_tokens: dict,
    train_transformer: dict,
    evaluate: dict,
    promote: dict,
) -> None:
    """Each parameter is the resolved config of the step of that name (`arguments` makes them)."""
    episodes = ingest_component.ingest(config=ingest).outputs["episodes"]
    frames = preprocess_component.preprocess(config=preprocess, episodes=episodes).outputs["frames"]
    vqvae = train_vqvae_component.train_vqvae(config=train_vqvae, frames=frames).outputs["vqvae"]
    extracted = extract_tokens_component.extract_tokens(config=extract_tokens, frames=frames, vqvae=vqvae)
    tokens = extracted.outputs["tokens"]
    trained = train_transformer_component.train_transformer(config=train_transformer, tokens=tokens)
    transformer = trained.outputs["transformer"]
    evaluated = evaluate_component.evaluate(
        config=evaluate, frames=frames, vqvae=vqvae, tokens=tokens, transformer=transformer
    )
    report = evaluated.outputs["report"]
    promote_component.promote(config=promote, vqvae=vqvae, transformer=transformer, report=report)


def arguments(params: Mapping[str, Any], specs: Path = SPECS) -> dict[str, Any]:
    """The pipeline's parameters: every step's resolved config as plain data.

    Resolved before the launch, so that a broken setting is refused here and not in a container, a step's cache key
    depends on its own settings alone, and the run's page shows every value.

    Args:
        params: the content of params.yaml.
        specs: folder of <dataset>.yaml files.
    """
    configs = resolve_all(params, specs)
    check_whole_pipeline(configs)
    return {step: _without_none(config, step) for step, config in configs.items()}


def _without_none(config: Any, at: str) -> dict[str, Any]:
    """Plain data of a config dataclass without its Nones, which Kubeflow's parameters cannot carry.

    Raises:
        ConfigError: a None that the schema's default would not bring back.
    """
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is None:
            if field.default is not None:
                raise ConfigError(f"{at}.{field.name}", None, "Kubeflow cannot carry it", "leave the setting out")
        elif dataclasses.is_dataclass(value):
            values[field.name] = _without_none(value, f"{at}.{field.name}")
        else:
            values[field.name] = to_dict(value)
    return values
