"""params.yaml + preset + data set spec -> a step's config, and the rules that hold between steps.

Each step's schema checks its own section. What one section alone cannot know (the transformer's tokens come from the
VQVAE's grids, clips must fit in the data set's episodes) is checked here for the whole experiment before any step
starts, so that a broken configuration costs a second and not the eleven minutes until the step that trips over it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from moso.config import load_yaml, resolve_section
from moso.errors import ConfigError

T = TypeVar("T")
STEPS = ("ingest", "preprocess", "train_vqvae", "extract_tokens", "train_transformer", "evaluate", "promote")
NAMED = ("dataset", "preset", "seed")
COMMON = (*NAMED, "ray")  # ray: components/scaling.py; it may be left out
SPECS = Path("data/specs")


def load_params(path: Path) -> dict[str, Any]:
    """The content of params.yaml.

    Raises:
        ConfigError: no such file, no mapping, or a key that is neither a step nor one of dataset, preset, seed and ray.
    """
    params = load_yaml(path)
    for key, value in params.items():
        if key not in (*COMMON, *STEPS):
            raise ConfigError(key, value, "is no section of params.yaml", f"known: {', '.join((*COMMON, *STEPS))}")
        if key in STEPS and not isinstance(value or {}, Mapping):
            raise ConfigError(key, value, "must be a mapping of settings (or {})")
    for key in NAMED:
        if key not in params:
            raise ConfigError(key, None, "is missing from params.yaml", f"add `{key}:`")
    return params


def resolve(step: str, schema: type[T], params: Mapping[str, Any], specs: Path = SPECS) -> T:
    """The config of `step`: preset, overrides, seed, for ingest the data set's spec and for evaluate its name.

    Args:
        step: one of `STEPS`.
        schema: the step's config dataclass.
        params: the content of params.yaml.
        specs: folder of <dataset>.yaml files.

    Raises:
        ConfigError: an unknown or wrong setting, named with its section.
    """
    section = dict(params.get(step) or {})
    if step == "ingest":
        section["spec"] = load_spec(params["dataset"], specs, section.get("spec") or {})
    if step == "evaluate":
        section.setdefault("data_set", params["dataset"])
    return resolve_section(schema, step, {**params, step: section})


def load_spec(dataset: str, specs: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plain data of `specs`/<dataset>.yaml with `overrides` laid over it.

    Raises:
        ConfigError: no such data set; the known ones are listed.
    """
    path = specs / f"{dataset}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in specs.glob("*.yaml"))) or "none"
        raise ConfigError("dataset", dataset, f"{path} does not exist", f"known: {known}")
    return {**load_yaml(path), **(overrides or {})}


def resolve_all(params: Mapping[str, Any], specs: Path = SPECS) -> dict[str, Any]:
    """Every step's config, checked against each other.

    Raises:
        ConfigError: a setting that is wrong by itself or does not fit another section's.
    """
    # Imported by name: a check decides whether a step starts, never what it computes, so a step's code dependencies
    # (the import graph) must not grow by those of all the others.
    schemas = {step: importlib.import_module(f"components.{step}.step").Config for step in STEPS}
    configs = {step: resolve(step, schema, params, specs) for step, schema in schemas.items()}
    check_experiment(configs)
    return configs


def check_experiment(configs: Mapping[str, Any]) -> None:
    """The rules between sections; the protocol that evaluate will ask for is made here for the first time.

    Args:
        configs: step -> its config, for every step.

    Raises:
        ConfigError: naming the field, its value and what would fit.
    """
    model = configs["train_vqvae"].model
    given = configs["extract_tokens"].given_frames
    if not 0 <= given < model.frames:
        raise ConfigError(
            "extract_tokens.given_frames",
            given,
            f"must lie below train_vqvae.model.frames = {model.frames}, so that something is left to predict",
            f"1 to {model.frames - 1} would fit",
        )
    for side in ("height", "width"):
        where, pixels = _pixels(configs, side)
        if pixels is not None and pixels != getattr(model, side):
            raise ConfigError(
                f"train_vqvae.model.{side}",
                getattr(model, side),
                f"frames of the cache have {pixels} pixels ({where})",
                f"set one to the other; preprocess.height and preprocess.width = {getattr(model, side)} resize",
            )
    where, frames = _episode_frames(configs["ingest"])
    if frames is not None and frames < model.frames:
        raise ConfigError(
            "train_vqvae.model.frames",
            model.frames,
            f"episodes have {frames} frames ({where})",
            f"at most {frames} fit",
        )
    configs["evaluate"].asked(given_frames=given, clip_frames=model.frames, height=model.height, width=model.width)
    grids = model.grids
    absent = "object" not in grids.components
    if configs["train_transformer"].model.merged_scene_object and (absent or grids.scene != grids.object):
        raise ConfigError(
            "train_transformer.model.merged_scene_object",
            True,
            f"needs equal grids of a scene and an object, and train_vqvae.model gives {grids.scene} and {grids.object}",
            "set it to false" if absent else "set it to false, or the factors equal",
        )


def check_whole_pipeline(configs: Mapping[str, Any]) -> None:
    """What the pipeline from end to end asks beyond `check_experiment`.

    With nothing given (K = 0) a model is trained and measured all the same, by the steps up to evaluate; promote and
    those who load the registered model ask for given frames. Refused here and not after days of training.

    Raises:
        ConfigError: K = 0.
    """
    frames = configs["train_vqvae"].model.frames
    if configs["extract_tokens"].given_frames == 0:
        raise ConfigError(
            "extract_tokens.given_frames",
            0,
            "a registered model continues given frames, and promote compares what it predicts",
            "`dvc repro evaluate` trains the model and measures it, `moso generate` draws from it; for a model that "
            f"does both, 1 to {frames - 1} with train_transformer.loss.unconditional_share above 0 would fit",
        )


def _pixels(configs: Mapping[str, Any], side: str) -> tuple[str, int | None]:
    """Where the size of the cache's frames is set, and the size; None where the recordings decide."""
    if getattr(configs["preprocess"], side) is not None:
        return f"preprocess.{side}", getattr(configs["preprocess"], side)
    if configs["ingest"].spec.source.kind == "simulate":
        return f"ingest.simulation.{side}", getattr(configs["ingest"].simulation, side)
    return "", None


def _episode_frames(ingest: Any) -> tuple[str, int | None]:
    if ingest.spec.source.kind == "simulate":
        return "ingest.simulation.frames", ingest.simulation.frames
    return "the data set's episode_frames", ingest.spec.episode_frames
