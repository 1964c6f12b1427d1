"""A task asked for by name and plain parameters: what the registered model takes, and what any service may take.

    answer(model, frames, {"task": "rollout", "length": 40})

PARAMETERS is the whole list, with types and defaults; None and an empty list mean "not given". One that is given to a
task that does not read it is refused, not passed over.

Legend: N clips, K given frames, T frames of a clip, L tokens of a clip, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Int64

from moso.tasks.checks import InputError, check_choice
from moso.tasks.chunks import OnProgress
from moso.tasks.interpolate import STEPS
from moso.tasks.model import Model
from moso.tasks.settings import settings_over
from moso.tokens.clip_tokens import COMPONENTS, ClipTokens, TokenGrids
from moso.transformer.config import SamplingConfig
from moso.vqvae.decompose import HIGH, LOW

SAMPLED = ("predict", "rollout", "generate", "interpolate")
SETTINGS = ("steps", "temperature", "top_k", "schedule", "scene_object", "confidence_noise")
"""Those that replace the model's own sampling settings; see moso.tasks.settings."""
TASKS = (*SAMPLED, "recombine", "decompose", "preprocess", "reconstruct", "encode", "decode")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a request.

    Attributes:
        type: of its value, or of each value where `many`.
        tasks: those that read it.
        default: where it is not given; None where not giving it means something else than any value.
        many: a list of values; empty where not given.
    """

    type: type[int] | type[float] | type[str] | type[bool]
    tasks: tuple[str, ...]
    default: int | float | str | bool | None = None
    many: bool = False

    @property
    def absent(self) -> Any:
        """The value that means "not given"."""
        return [] if self.many else self.default


PARAMETERS: dict[str, Parameter] = {
    "task": Parameter(str, TASKS, "predict"),
    "seed": Parameter(int, SAMPLED, 0),
    "steps": Parameter(int, SAMPLED),
    "temperature": Parameter(float, SAMPLED),
    "top_k": Parameter(int, SAMPLED),
    "schedule": Parameter(str, SAMPLED),
    "scene_object": Parameter(str, ("predict", "rollout", "generate")),
    "confidence_noise": Parameter(float, SAMPLED),
    "samples": Parameter(int, ("predict",)),
    "length": Parameter(int, ("rollout",)),
    "carry": Parameter(str, ("rollout",), "tokens"),
    "fade": Parameter(bool, ("rollout",), True),
    "first": Parameter(int, ("generate",), 0),
    "given": Parameter(int, ("interpolate",), many=True),
    "tokens_from": Parameter(str, ("interpolate",), "given_frames"),
    "scene": Parameter(int, ("recombine",), many=True),
    "object": Parameter(int, ("recombine",), many=True),
    "motion": Parameter(int, ("recombine",), many=True),
    "parts": Parameter(str, ("decompose",), many=True),
    "low": Parameter(float, ("preprocess",), LOW),
    "high": Parameter(float, ("preprocess",), HIGH),
    "tokens": Parameter(int, ("decode",), many=True),
    "frames": Parameter(int, ("decode",), many=True),
    "only": Parameter(str, ("decode",), many=True),
}


def answer(
    model: Model, frames: np.ndarray, parameters: Mapping[str, Any], *, on_progress: OnProgress | None = None
) -> Any:
    """What the task that `parameters` name makes of `frames`.

    Args:
        model: does it.
        frames: uint8 (N, n, H, W, 3): the given frames (predict, rollout), whole clips (interpolate, recombine,
            decompose, preprocess, reconstruct, encode); N clips of which no frame is read (generate, decode).
        parameters: see PARAMETERS.
        on_progress: called with the number of clips that were just done (moso.tasks.model); what it raises ends the
            task between two batches. preprocess does not call it.

    Returns:
        Videos uint8; of decompose and preprocess a dict of them, part by part; of encode int64 (N, L), see
        `flat_tokens`. generate: N videos. decode: as many as `tokens` are of.

    Raises:
        InputError: an unknown task, a parameter that it does not read, or a value that does not fit.
    """
    wanted = {name: parameter.absent for name, parameter in PARAMETERS.items()} | dict(parameters)
    task = wanted["task"]
    check_choice("task", task, TASKS)
    for name, value in wanted.items():
        check_choice("parameter", name, tuple(PARAMETERS))
        if task not in PARAMETERS[name].tasks and not _same(value, PARAMETERS[name].absent):
            read = ", ".join(key for key, parameter in PARAMETERS.items() if task in parameter.tasks)
            raise InputError(f"{name}: task {task!r} does not read it; it reads {read}")
    return _ANSWERS[task](model, frames, wanted, on_progress)


def flat_tokens(tokens: ClipTokens) -> Int64[np.ndarray, "N L"]:
    """A row a clip: scene, object, then motion frame by frame, each grid row by row. Inverse of `clip_tokens`."""
    return torch.cat([getattr(tokens, name).flatten(1) for name in COMPONENTS], dim=1).numpy()


def clip_tokens(flat: Int[np.ndarray, "N L"], grids: TokenGrids) -> ClipTokens:
    """The tokens of rows as `flat_tokens` writes them."""
    sizes = [int(np.prod(grids.shape(name))) for name in COMPONENTS]
    parts = torch.from_numpy(np.asarray(flat, dtype=np.int64)).split(sizes, dim=1)
    return ClipTokens(
        *(part.reshape(len(flat), *grids.shape(name)) for part, name in zip(parts, COMPONENTS, strict=True))
    )


def _same(value: Any, absent: Any) -> bool:
    return len(value) == 0 if isinstance(absent, list) else bool(value == absent)


def _settings(model: Model, wanted: Mapping[str, Any], steps: int | None = None) -> SamplingConfig:
    """The model's own settings with those of the request in their place; `steps` where it names none."""
    named = {name: wanted[name] for name in SETTINGS}
    return settings_over(model.sampling, **named | {"steps": steps if named["steps"] is None else named["steps"]})


def _predict(model: Model, frames: np.ndarray, wanted: Mapping[str, Any], on_progress: OnProgress | None) -> np.ndarray:
    how = {"seed": wanted["seed"], "samples": wanted["samples"], "on_progress": on_progress}
    return model.predict(frames, sampling=_settings(model, wanted), **how)


def _rollout(model: Model, frames: np.ndarray, wanted: Mapping[str, Any], on_progress: OnProgress | None) -> np.ndarray:
    if wanted["length"] is None:
        raise InputError("length: task 'rollout' needs it, the number of frames to predict")
    how = {"carry": wanted["carry"], "fade": wanted["fade"], "seed": wanted["seed"], "on_progress": on_progress}
    return model.rollout(frames, wanted["length"], sampling=_settings(model, wanted), **how)


def _generate(
    model: Model, frames: np.ndarray, wanted: Mapping[str, Any], on_progress: OnProgress | None
) -> np.ndarray:
    how = {"first": wanted["first"], "seed": wanted["seed"], "on_progress": on_progress}
    videos: Iterator[np.ndarray] = model.generate(len(frames), sampling=_settings(model, wanted), **how)
    return np.concatenate(list(videos))


def _interpolate(
    model: Model, frames: np.ndarray, wanted: Mapping[str, Any], on_progress: OnProgress | None
) -> np.ndarray:
    how = {"tokens_from": wanted["tokens_from"], "seed": wanted["seed"], "on_progress": on_progress}
    return model.interpolate(frames, list(wanted["given"]) or None, sampling=_settings(model, wanted, STEPS), **how)


def _recombine(
    model: Model, frames: np.ndarray, wanted: Mapping[str, Any], on_progress: OnProgress | None
) -> np.ndarray:
    chosen = {component: list(wanted[component]) for component in COMPONENTS if len(wanted[component])}
    for component, clips in chosen.items():
        if min(clips) < 0 or max(clips) >= len(frames):
            raise InputError(f"{component}: expected numbers of clips from 0 to {len(frames) - 1}, got {clips}")
    videos: dict[str, Any] = {component: frames[clips] for component, clips in chosen.items()}
    return model.recombine(**videos, on_progress=on_progress)


def _decode(model: Model, frames: np.ndarray, wanted: Mapping[str, Any], on_progress: OnProgress | None) -> np.ndarray:
    grids, tokens = model.vqvae.grids, np.asarray(wanted["tokens"], dtype=np.int64)
    if tokens.ndim != 1 or not len(tokens) or len(tokens) % grids.tokens:
        raise InputError(
            f"tokens: expected one list of {grids.tokens} tokens a clip, clip after clip (what encode gave, ravelled), "
            f"got {tokens.size} tokens"
        )
    chosen = list(wanted["frames"]) or None
    only = list(wanted["only"]) or None
    clips = clip_tokens(tokens.reshape(-1, grids.tokens), grids)
    return model.decode(clips, chosen, only=only, on_progress=on_progress)


_ANSWERS: dict[str, Callable[[Model, np.ndarray, Mapping[str, Any], OnProgress | None], Any]] = {
    "predict": _predict,
    "rollout": _rollout,
    "generate": _generate,
    "interpolate": _interpolate,
    "recombine": _recombine,
    "decompose": lambda model, frames, wanted, on_progress: model.decompose(
        frames, list(wanted["parts"]) or None, on_progress=on_progress
    ),
    "preprocess": lambda model, frames, wanted, on_progress: model.preprocess(frames, wanted["low"], wanted["high"]),
    "reconstruct": lambda model, frames, wanted, on_progress: model.reconstruct(frames, on_progress=on_progress),
    "encode": lambda model, frames, wanted, on_progress: flat_tokens(model.encode(frames, on_progress=on_progress)),
    "decode": _decode,
}
