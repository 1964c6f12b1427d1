"""Every config, also one made in Python, refuses a name that its Literal hint does not have."""

import dataclasses
import importlib
import pkgutil
import typing
from typing import Any

import pytest

import components
import moso
from moso.config import check_choices
from moso.errors import ConfigError
from moso.transformer.config import SamplingConfig

RESULTS = {"Decision", "Splits"}
"""Made by one function of ours, never by a user."""


def literals(hint: Any) -> tuple[Any, ...]:
    """The allowed values of a Literal wherever it stands in the hint; none where there is none."""
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    return tuple(value for part in typing.get_args(hint) for value in literals(part))


def fields() -> dict[str, tuple[type, str, tuple[Any, ...], bool]]:
    """'module.Class.field' -> (class, field, allowed values, whether it is a tuple of them)."""
    found = {}
    for package in (moso, components):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.startswith("moso.adapters") or module.name.endswith("__main__"):
                continue
            for schema in vars(importlib.import_module(module.name)).values():
                if not (isinstance(schema, type) and dataclasses.is_dataclass(schema)) or schema.__name__ in RESULTS:
                    continue
                if not schema.__module__.startswith((moso.__name__, components.__name__)):
                    continue
                hints = typing.get_type_hints(schema)
                for field in dataclasses.fields(schema):
                    if field.init and (allowed := literals(hints[field.name])):
                        several = typing.get_origin(hints[field.name]) is tuple
                        name = f"{schema.__module__}.{schema.__name__}.{field.name}"
                        found[name] = schema, field.name, allowed, several
    return found


FIELDS = fields()


def test_the_settings_that_choose_are_found():
    named = {name.removeprefix("moso.") for name in FIELDS}
    assert {
        "vqvae.config.VQVAEConfig.merge",
        "vqvae.config.VQVAEConfig.decomposition",
        "vqvae.config.VQVAEConfig.codebooks",
        "vqvae.losses.LossConfig.reconstruction",
        "vqvae.discriminators.AdversarialConfig.weight",
        "transformer.config.TransformerConfig.wiring",
        "transformer.config.LossConfig.guidance_from",
        "transformer.config.SamplingConfig.schedule",
        "transformer.config.SamplingConfig.scene_object",
        "training.config.OptimizerConfig.name",
        "training.config.TrainingConfig.precision",
        "sim.config.ObjectsConfig.shapes",
        "components.extract_tokens.step.Config.starts",
    } <= named


def made(schema: type, **values: Any) -> Any:
    """The config as its __init__ leaves it: conftest's type checker, which no user has, would refuse a typo before."""
    config = object.__new__(schema)
    for field in dataclasses.fields(schema):
        if field.default is not dataclasses.MISSING:
            object.__setattr__(config, field.name, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            object.__setattr__(config, field.name, field.default_factory())
    for other, name, allowed, several in FIELDS.values():
        if other is schema and not hasattr(config, name):
            object.__setattr__(config, name, allowed[:1] if several else allowed[0])
    for name, value in values.items():
        object.__setattr__(config, name, value)
    config.__post_init__()
    return config


@pytest.mark.parametrize("name", FIELDS)
def test_a_name_that_is_no_choice_is_refused_and_the_choices_are_told(name):
    schema, field, allowed, several = FIELDS[name]
    typo = f"{allowed[0]}z"
    with pytest.raises(ConfigError) as refused:
        made(schema, **{field: (allowed[0], typo) if several else typo})
    assert (refused.value.field, refused.value.value) == (field, typo)
    assert all(repr(value) in refused.value.rule for value in allowed)
    assert repr(allowed[0]) in refused.value.remedy


def test_the_message_reads_as_from_a_file():
    with pytest.raises(ConfigError, match=r"schedule = 'cubic': must be one of 'cosine', 'linear', 'square'"):
        made(SamplingConfig, schedule="cubic")
    assert made(SamplingConfig, schedule="linear").schedule == "linear"


def test_a_choice_that_may_be_none_takes_none_and_nothing_else():
    @dataclasses.dataclass(frozen=True)
    class Optional:
        how: typing.Literal["a", "b"] | None = None
        free: int | None = None

        def __post_init__(self) -> None:
            check_choices(self)

    assert Optional("a").how == "a"
    assert Optional(None, 3).how is None
    with pytest.raises(ConfigError, match="how = 'c': must be one of 'a', 'b', None"):
        Optional("c")
