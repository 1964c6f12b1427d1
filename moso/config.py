"""Preset + overrides -> frozen, validated config.

A step's schema is a frozen dataclass that lives beside its owner; this module knows none of them. `build` turns nested
mappings into such a dataclass and refuses unknown keys by name, `resolve_section` merges a preset file with the
overrides of params.yaml, and `to_dict` writes the resolved config back as plain data.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from moso.errors import ConfigError

T = TypeVar("T")
PRESETS = Path(__file__).parent / "presets"


def to_dict(config: Any) -> Any:
    """Plain data (dict, list, str, int, float, bool, None) of a config dataclass; inverse of `build`."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(k): to_dict(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict(v) for v in config]
    return config


def build(schema: type[T], values: Mapping[str, Any], at: str = "") -> T:
    """The dataclass `schema` from plain data, strictly.

    Args:
        schema: a frozen dataclass; nested dataclasses, tuples, Optional and Literal fields are understood.
        values: plain data, as YAML or JSON gives it.
        at: dotted path of `values`, used in messages.

    Raises:
        ConfigError: an unknown key (the nearest known one is named), a missing one, or a value of another type.
    """
    hints = typing.get_type_hints(schema)
    fields = {f.name: f for f in dataclasses.fields(schema) if f.init}  # type: ignore[arg-type]
    arguments = {}
    for key, value in values.items():
        path = f"{at}.{key}" if at else str(key)
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.0)
            raise ConfigError(path, value, "unknown setting", f"did you mean {near[0]!r}?" if near else "remove it")
        arguments[key] = _convert(hints[key], value, path)
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in arguments:
            raise ConfigError(f"{at}.{name}" if at else name, None, "is required and has no default", "set it")
    try:
        return schema(**arguments)
    except ConfigError as error:
        if at and not error.field.startswith(f"{at}."):
            raise ConfigError(f"{at}.{error.field}", error.value, error.rule, error.remedy) from error
        raise


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        options = [a for a in args if a is not type(None)]
        failure: ConfigError | None = None
        for option in options:
            try:
                return _convert(option, value, path)
            except ConfigError as error:
                failure = error
        assert failure is not None
        raise failure
    if origin is typing.Literal:
        _check_choice(path, value, args)
        return value
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(path, value, "must be a mapping of settings")
        return build(typing.cast(type, hint), value, path)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(path, value, "must be a list")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_convert(args[0], v, f"{path}[{i}]") for i, v in enumerate(value))
        if len(value) != len(args):
            raise ConfigError(path, value, f"must have {len(args)} values")
        return tuple(_convert(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    if origin in (dict, Mapping) or hint is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(path, value, "must be a mapping")
        return dict(value)
    if hint is bool:
        if not isinstance(value, bool):
            raise ConfigError(path, value, "must be true or false")
        return value
    if hint is float:
        # YAML 1.1 reads 2e-4 as text; the user meant a number.
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                raise ConfigError(path, value, "must be a number") from None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(path, value, "must be a number")
        return float(value)
    if hint is int:
        # KFP hands whole numbers over as floats.
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(path, value, "must be a whole number")
        return value
    if hint is str:
        if not isinstance(value, str):
            raise ConfigError(path, value, "must be text")
        return value
    raise TypeError(f"{path}: config fields of type {hint!r} are not supported")


def check_choices(config: Any) -> None:
    """Refuse a value that is none of its field's Literal: to be called first in a config's __post_init__.

    `build` looks at what comes from a file; a config made in Python would otherwise take any name, and act on it as
    on the last branch of some `if`.

    Args:
        config: a dataclass instance; its fields of type Literal, Literal or None, and tuple of Literal are looked at.

    Raises:
        ConfigError: names the field, the value and the allowed ones.
    """
    schema: Any = type(config)
    for name, allowed, several in _choices(schema):
        value = getattr(config, name)
        for one in value if several else (value,):
            _check_choice(name, one, allowed)


@functools.cache
def _choices(schema: type) -> tuple[tuple[str, tuple[Any, ...], bool], ...]:
    """(field, allowed values, whether it is a tuple of them) of each field that its Literal restricts."""
    hints, found = typing.get_type_hints(schema), []
    for field in dataclasses.fields(schema):
        hint = hints[field.name]
        several = typing.get_origin(hint) is tuple
        options = typing.get_args(hint)[:1] if several else (hint,)
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            options = typing.get_args(hint)
        if all(option is type(None) or typing.get_origin(option) is typing.Literal for option in options):
            allowed = (value for option in options for value in (typing.get_args(option) or (None,)))
            found.append((field.name, tuple(allowed), several))
    return tuple(found)


def _check_choice(field: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), [str(choice) for choice in allowed], n=1)
        remedy = f"did you mean {near[0]!r}?" if near else ""
        raise ConfigError(field, value, f"must be one of {', '.join(map(repr, allowed))}", remedy)


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `overrides` laid over it, mappings merged key by key, anything else replaced."""
    merged = dict(base)
    for key, value in overrides.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def flat(values: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Nested plain data by dotted name; an empty mapping stays a value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{at}.{name}" if at else str(name)
        if isinstance(value, Mapping) and value:
            found |= flat(value, path)
        else:
            found[path] = value
    return found


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        ConfigError: the file is missing, is no YAML, or holds something else than a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError("file", str(path), "does not exist") from None
    except yaml.YAMLError as error:
        raise ConfigError("file", str(path), f"is no valid YAML ({error})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError("file", str(path), "must hold a mapping")
    return values


def preset_names() -> tuple[str, ...]:
    """Every preset that a run can name, as <dataset>/<preset>; those that others are only laid over are left out."""
    return tuple(sorted(path.relative_to(PRESETS).with_suffix("").as_posix() for path in PRESETS.glob("*/*.yaml")))


def load_preset(name: str) -> dict[str, Any]:
    """The plain data of moso/presets/<name>.yaml; a data set's preset is named <dataset>/<preset> ("kth/128").

    A preset may name another one as `base:`; it is then merged over it.

    Raises:
        ConfigError: no such preset; the known ones are listed.
    """
    path = PRESETS / f"{name}.yaml"
    if not path.exists():
        known = preset_names()
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f"did you mean {near[0]!r}? " if near else ""
        rule = f"no such preset: {path} does not exist"
        raise ConfigError("preset", name, rule, f"{hint}known: {', '.join(known)}")
    values = load_yaml(path)
    base = values.pop("base", None)
    return merge(load_preset(base), values) if base else values


def resolve_section(schema: type[T], section: str, params: Mapping[str, Any]) -> T:
    """A step's config: the data set's preset that `params` names, that step's section of it, the overrides in `params`.

    Args:
        schema: the step's config dataclass. Where it has a field `seed`, the top-level seed of params fills it.
        section: the step's name, which is also the section's.
        params: the content of params.yaml; `dataset` and `preset` together name the preset.

    Raises:
        ConfigError: an unknown or wrong setting, named with its section.
    """
    preset = load_preset(f"{params.get('dataset', 'sim_push')}/{params.get('preset', 'default')}")
    values = merge(preset.get(section) or {}, params.get(section) or {})
    names = {f.name for f in dataclasses.fields(schema)}  # type: ignore[arg-type]
    if "seed" in names and "seed" in params:
        values.setdefault("seed", params["seed"])
    return build(schema, values, section)
