"""The training pipeline on Kubeflow: the same seven steps and edges as dvc.yaml (a test compares them).

No `from __future__ import annotations` here: kfp reads a pipeline's annotations as objects.
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from components.config import SPECS, STEPS, check_whole_pipeline, resolve_all
from components.evaluate import component as evaluate_component
from components.extract_tokens import component as extract_tokens_component
from components.ingest import component as ingest_component
from components.preprocess import component as preprocess_component
from components.promote import component as promote_component
from components.scaling import asked
from components.train_transformer import component as train_transformer_component
from components.train_vqvae import component as train_vqvae_component
from moso.config import to_dict
from moso.errors import ConfigError
from pipelines.caching import ALWAYS
from pipelines.cluster import Cluster, place

NAME = "moso-training"


def training_pipeline(cluster: Cluster | None = None, keys: Mapping[str, str] | None = None) -> Any:
    """The pipeline as kfp compiles or runs it.

    Args:
        cluster: how the steps sit on Kubernetes; None: nothing of it, for the local runner.
        keys: `caching.cache_keys`, of one run's arguments. A step without a key keeps Kubeflow's own, save two that are
            then never taken from the cache: ingest, whose raw data may have changed behind the same settings, and
            promote, whose effect is in the registry.

    Returns:
        A kfp pipeline. Its parameters: the resolved config of each step, `ray` (components/scaling.py: how many
        workers, on a Ray of the pod's own or on a cluster that is handed the step) and `raw_digest` (part of ingest's
        cache key).
    """

    @dsl.pipeline(name=NAME, description="MOSO: raw recordings -> trained, evaluated, registered model")
    def training(
        ingest: dict,
        preprocess: dict,
        train_vqvae: dict,
        extract_tokens: dict,
        train_transformer: dict,
        evaluate: dict,
        promote: dict,
        ray: dict,
        raw_digest: str = "",
    ) -> None:
        ingested = ingest_component.ingest(config=ingest, raw_digest=raw_digest)
        episodes = ingested.outputs["episodes"]
        preprocessed = preprocess_component.preprocess(config=preprocess, episodes=episodes)
        frames = preprocessed.outputs["frames"]
        trained_vqvae = train_vqvae_component.train_vqvae(config=train_vqvae, ray=ray, frames=frames)
        vqvae = trained_vqvae.outputs["vqvae"]
        extracted = extract_tokens_component.extract_tokens(config=extract_tokens, ray=ray, frames=frames, vqvae=vqvae)
        tokens = extracted.outputs["tokens"]
        trained = train_transformer_component.train_transformer(config=train_transformer, ray=ray, tokens=tokens)
        transformer = trained.outputs["transformer"]
        evaluated = evaluate_component.evaluate(
            config=evaluate, frames=frames, vqvae=vqvae, tokens=tokens, transformer=transformer
        )
        report = evaluated.outputs["report"]
        promoted = promote_component.promote(config=promote, vqvae=vqvae, transformer=transformer, report=report)
        tasks = (ingested, preprocessed, trained_vqvae, extracted, trained, evaluated, promoted)
        for step, task in zip(STEPS, tasks, strict=True):
            _cache(task, step, keys or {})
            if cluster is not None:
                place(task, step, cluster)

    return training


def _cache(task: dsl.PipelineTask, step: str, keys: Mapping[str, str]) -> None:
    if step in keys:
        task.set_caching_options(True, cache_key=keys[step])
    elif step in ("ingest", *ALWAYS):
        task.set_caching_options(False)


def compiled(cluster: Cluster | None, keys: Mapping[str, str] | None = None) -> str:
    """The training pipeline as Kubeflow's YAML; the same sources give the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.yaml"
        compiler.Compiler().compile(training_pipeline(cluster, keys), str(path))
        return path.read_text()


def arguments(params: Mapping[str, Any], specs: Path = SPECS) -> dict[str, Any]:
    """The pipeline's parameters: every step's resolved config as plain data, and `ray`.

    Resolved before the launch, so that a broken setting is refused here and not in a container, a step's cache key
    depends on its own settings alone, and the run's page shows every value.

    Args:
        params: the content of params.yaml.
        specs: folder of <dataset>.yaml files.

    Raises:
        ConfigError: a wrong setting.
    """
    configs = resolve_all(params, specs)
    check_whole_pipeline(configs)
    ray = asked(params.get("ray"))
    return {**{step: without_none(config, step) for step, config in configs.items()}, "ray": without_none(ray, "ray")}


def without_none(config: Any, at: str) -> dict[str, Any]:
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
            values[field.name] = without_none(value, f"{at}.{field.name}")
        else:
            values[field.name] = to_dict(value)
    return values
