"""Parameters of a request, as text (query, form) or JSON: known ones, each of its type.

Those of the tasks are `moso.tasks.request.PARAMETERS`; the service adds what reading and writing need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from moso.serving.errors import RequestError
from moso.tasks.checks import InputError
from moso.tasks.request import PARAMETERS, TASKS, Parameter

READING = tuple(task for task in TASKS if task not in ("generate", "decode"))
DRAWING = tuple(task for task in TASKS if task != "encode")
SERVICE: dict[str, Parameter] = {
    "start": Parameter(int, READING),
    "resize": Parameter(bool, READING, False),
    "clips": Parameter(int, READING, 1),
    "count": Parameter(int, ("generate",), 1),
    "format": Parameter(str, TASKS),
    "fps": Parameter(float, DRAWING),
    "each": Parameter(bool, DRAWING, False),
}
WORDS = {
    "start": "First frame to take of a file, from 0; without it an array must have exactly the frames that are needed.",
    "resize": "Crop the centre to the model's shape and scale it to the model's size.",
    "clips": "Into how many clips the images of the request are dealt, in their order.",
    "count": "How many videos to generate.",
    "format": "Of the answer; the Accept header decides without it.",
    "fps": "Frames a second of mp4 and gif; the source's by default, else 5.",
    "each": "A zip with a file a clip in place of one picture that shows them all.",
    "seed": "Same seed, same video.",
    "steps": "Steps that motion tokens are drawn in.",
    "temperature": "Of the tokens that are drawn; 0 takes the likeliest.",
    "top_k": "Draw among the k likeliest tokens; 0: among all.",
    "schedule": "Of the masked share of motion tokens.",
    "scene_object": "Scene and object tokens by their distribution, or the likeliest.",
    "confidence_noise": "Factor of the noise that decides which motion tokens stay.",
    "samples": "How many of each clip; sample j has seed + j.",
    "length": "Frames to predict.",
    "carry": "What a clip of a rollout hands to the next: tokens, or frames.",
    "fade": "Spread what a joint between clips jumps by over two frames.",
    "first": "Number of the first video.",
    "given": "Numbers of the given frames, from 0; every second one by default.",
    "tokens_from": "given_frames alone, or the whole_clip.",
    "scene": "Numbers of the clips that scenes come from.",
    "object": "Numbers of the clips that objects come from.",
    "motion": "Numbers of the clips that motion comes from.",
    "parts": "Of scene, object, motion and object_motion; all by default.",
    "low": "Threshold of Algorithm 1 on the change of a pixel.",
    "high": "Threshold of Algorithm 1 on the change of a pixel.",
    "tokens": "Of the clips to decode, a row a clip.",
    "frames": "Numbers of the frames to draw, from 0; all by default.",
    "only": "Components to draw; all by default.",
}
KINDS: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def parameters_of(task: str) -> dict[str, Parameter]:
    """What a request for `task` may say; the task itself is in the address."""
    both = {**PARAMETERS, **SERVICE}
    return {name: parameter for name, parameter in both.items() if name != "task" and task in parameter.tasks}


def from_text(task: str, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Parameters of a query or a form; lists are written 0,4,8, or repeated.

    Raises:
        InputError: one that the task does not read, or a value of another type.
        RequestError: one value is wanted and several are given.
    """
    found: dict[str, Any] = {}
    for name, text in pairs:
        parameter = _known(task, name)
        values = [_parsed(name, parameter, part.strip()) for part in (text.split(",") if parameter.many else [text])]
        if parameter.many:
            found.setdefault(name, []).extend(values)
        elif name in found:
            raise RequestError(f"{name}: given twice, one value is wanted")
        else:
            found[name] = values[0]
    return found


def from_json(task: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a JSON object; null means "not given".

    Raises:
        InputError: one that the task does not read, or a value of another type.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        parameter = _known(task, name)
        if value is None:
            continue
        if parameter.many:
            if not isinstance(value, list):
                raise InputError(f"{name}: expected a list, got {shorten(value)}")
            found[name] = [_checked(name, parameter, one) for one in _flat(value)]
        else:
            found[name] = _checked(name, parameter, value)
    return found


def merged(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """All of them.

    Raises:
        RequestError: two name the same parameter.
    """
    together: dict[str, Any] = {}
    for source in sources:
        if twice := sorted(together.keys() & source.keys()):
            raise RequestError(f"{twice[0]}: given twice, in the address and in the body")
        together |= source
    return together


def shorten(value: object, most: int = 60) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _known(task: str, name: str) -> Parameter:
    known = parameters_of(task)
    if name not in known:
        word = "does not read it" if name in {**PARAMETERS, **SERVICE} else "knows no such parameter"
        raise InputError(f"{shorten(name)[1:-1]}: task {task!r} {word}; it reads {', '.join(known)}")
    return known[name]


def _parsed(name: str, parameter: Parameter, text: str) -> Any:
    try:
        if parameter.type is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return _finite(parameter.type(text))
    except (KeyError, ValueError):
        raise InputError(f"{name}: expected {KINDS[parameter.type]}, got {shorten(text)}") from None


def _checked(name: str, parameter: Parameter, value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = whole if parameter.type is int else isinstance(value, parameter.type) or (parameter.type is float and whole)
    try:
        if fits:
            return _finite(float(value) if parameter.type is float else value)
    except (OverflowError, ValueError):
        pass
    raise InputError(f"{name}: expected {KINDS[parameter.type]}, got {shorten(value)}")


def _finite(value: Any) -> Any:
    """A value that arithmetic of 64 bits takes.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError("too large")
    return value


def _flat(values: list[Any]) -> list[Any]:
    """Tokens come as they were given by encode: a row a clip."""
    return [one for row in values for one in row] if values and all(isinstance(v, list) for v in values) else values
