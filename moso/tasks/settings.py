"""The sampling settings that a caller may name, laid over a model's own: one meaning at every outside edge."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

from moso.choices import SceneObject, Schedule
from moso.errors import ConfigError
from moso.tasks.checks import InputError, check_choice
from moso.transformer.config import SamplingConfig


def settings_over(
    own: SamplingConfig,
    *,
    steps: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    schedule: str | None = None,
    scene_object: str | None = None,
    confidence_noise: float | None = None,
) -> SamplingConfig:
    """`own` with what is named in its place; None names nothing.

    Args:
        own: the model's settings.
        steps: in which motion tokens are drawn.
        temperature: of the distributions of scene, object and motion tokens; 0 takes the likeliest. It touches neither
            scene and object tokens that are taken by argmax, nor the noise that decides which motion tokens stay.
        top_k: draw among the k likeliest; 0: among all.
        schedule: see moso.choices.
        scene_object: see moso.choices.
        confidence_noise: factor of the noise that decides which motion tokens stay. With temperature 0 and scene_object
            "argmax", 0 makes the result independent of the seed.

    Raises:
        InputError: a value that breaks a rule of SamplingConfig.
    """
    for name, word, known in (("schedule", schedule, Schedule), ("scene_object", scene_object, SceneObject)):
        if word is not None:
            check_choice(name, word, get_args(known))
    if temperature is not None and not temperature >= 0:
        raise InputError(f"temperature: expected a number from 0, got {temperature}")
    if confidence_noise is not None and not (confidence_noise >= 0 and math.isfinite(confidence_noise)):
        raise InputError(f"confidence_noise: expected a finite number from 0, got {confidence_noise}")
    named: dict[str, Any] = {
        "steps": steps,
        "motion_temperature": temperature,
        "scene_object_temperature": temperature,
        "top_k": top_k,
        "schedule": schedule,
        "scene_object": scene_object,
        "confidence_noise": confidence_noise,
    }
    try:
        return dataclasses.replace(own, **{name: value for name, value in named.items() if value is not None})
    except ConfigError as error:
        raise InputError(str(error)) from None
