"""What /openapi.json says of each task, and /v1/model of the model: made from the lists of tasks and parameters."""

from __future__ import annotations

import inspect
from typing import Any, get_args

from moso.choices import Carry, Component, SceneObject, Schedule, TokensFrom
from moso.config import to_dict
from moso.serving.champion import Served
from moso.serving.limits import Limits
from moso.serving.parameters import SERVICE, WORDS, parameters_of
from moso.serving.reading import MEDIA as READ
from moso.serving.writing import FRAMES, MEDIA, TOKENS
from moso.tasks.model import Model
from moso.tasks.request import Parameter

TYPES: dict[type, str] = {int: "integer", float: "number", str: "string", bool: "boolean"}
CHOICES: dict[str, tuple[str, ...]] = {
    "schedule": get_args(Schedule),
    "scene_object": get_args(SceneObject),
    "carry": get_args(Carry),
    "tokens_from": get_args(TokensFrom),
    "only": get_args(Component),
}
REFUSALS = {
    "400": "A body that is not what its headers say",
    "406": "No form of the answer that Accept names",
    "408": "The body did not come in time",
    "413": "More bytes, pixels, clips, frames or steps than the service takes",
    "415": "A kind of body that is not read",
    "422": "Content that cannot be read, or does not fit the model or the task",
    "503": "Full, or no model is loaded yet",
    "504": "It took too long",
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
ERROR = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}


def operation(task: str) -> dict[str, Any]:
    """Arguments of a FastAPI route for `task`."""
    text = (inspect.getdoc(getattr(Model, task)) or "").splitlines()[0]
    own = parameters_of(task)
    forms = TOKENS if task == "encode" else FRAMES
    extra = {
        "parameters": [
            {"name": name, "in": "query", "description": WORDS[name], "schema": _schema(task, name, parameter)}
            for name, parameter in own.items()
        ],
        "requestBody": {"required": task != "generate", "content": _bodies(task)},
    }
    answers = {MEDIA[form]: {} if form == "json" else BINARY for form in forms}
    responses: dict[int | str, dict[str, Any]] = {200: {"description": "The result", "content": answers}}
    for status, words in REFUSALS.items():
        responses[int(status)] = {"description": words, "content": {"application/json": {"schema": ERROR}}}
    return {"summary": text, "openapi_extra": extra, "responses": responses}


def describe_model(served: Served, limits: Limits) -> dict[str, Any]:
    """The model that serves, as plain data."""
    model = served.model
    return {
        "reference": served.reference,
        "version": served.version,
        "digest": model.digest,
        "given_frames": model.given_frames,
        "clip_frames": model.clip_frames,
        "height": model.height,
        "width": model.width,
        "components": list(model.components),
        "generates": bool(model.transformer.unconditional),
        "tokens": model.vqvae.grids.tokens,
        "sampling": to_dict(model.sampling),
        "limits": to_dict(limits),
    }


def _schema(task: str, name: str, parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": TYPES[parameter.type]}
    if name == "format":
        schema["enum"] = list(TOKENS if task == "encode" else FRAMES)
    elif name in CHOICES:
        schema["enum"] = list(CHOICES[name])
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {"type": "array", "items": schema} if parameter.many else schema


def _bodies(task: str) -> dict[str, Any]:
    own = parameters_of(task)
    fields = {name: _schema(task, name, parameter) for name, parameter in own.items()}
    pixels: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 255}
    for _ in range(5):
        pixels = {"type": "array", "items": pixels}
    plain = {"parameters": {"type": "object", "properties": fields, "additionalProperties": False}}
    brings = task not in ("generate", "decode")
    if brings:
        plain = {"frames": {**pixels, "description": "(N, T, H, W, 3)"}, **plain}
    content: dict[str, Any] = {
        "application/json": {"schema": {"type": "object", "properties": plain, "additionalProperties": False}}
    }
    if task == "generate":
        return content
    form = {
        name: schema for name, schema in fields.items() if name in SERVICE or name not in ("scene", "object", "motion")
    }
    file = {"type": "array", "items": {"type": "string", "format": "binary"}}
    names = ("scene", "object", "motion") if task == "recombine" else ("clip",)
    form |= dict.fromkeys(names, file)
    content["multipart/form-data"] = {"schema": {"type": "object", "properties": form}}
    media = READ if brings else ("application/x-npy", "application/x-safetensors")
    return content | {name: BINARY for name in media if not (brings and name.endswith("safetensors"))}
