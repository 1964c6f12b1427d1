"""Plain data held strictly against the models of a generated OpenAPI client (kfp_server_api, kubernetes.client)."""

from typing import Any


def check_against(models: Any, kind: str, value: Any, at: str) -> None:
    """Hold plain data against a model of an OpenAPI client (kfp_server_api, kubernetes.client): an unknown field, or a
    value of another type, is an AssertionError that names it."""
    if value is None:
        return
    if kind.startswith("list["):
        assert isinstance(value, list), f"{at}: {value!r} is no list"
        for index, one in enumerate(value):
            check_against(models, kind[5:-1], one, f"{at}[{index}]")
    elif kind.startswith("dict("):
        assert isinstance(value, dict), f"{at}: {value!r} is no mapping"
        for name, one in value.items():
            check_against(models, kind[5:-1].split(", ", 1)[1], one, f"{at}.{name}")
    elif kind == "object":
        pass
    elif kind in ("str", "datetime"):
        assert isinstance(value, str), f"{at}: {value!r} is no text"
    elif kind in ("bool", "int", "float"):
        assert isinstance(value, bool) == (kind == "bool"), f"{at}: {value!r} is no {kind}"
        assert isinstance(value, {"bool": bool, "int": int, "float": (int, float)}[kind]), f"{at}: {value!r}"
    else:
        model = getattr(models, kind)
        if hasattr(model, "allowable_values"):
            assert value in model.allowable_values, f"{at}: {value!r} is none of {model.allowable_values}"
            return
        assert isinstance(value, dict), f"{at}: {value!r} is no {kind}"
        types = {model.attribute_map[name]: of for name, of in model.openapi_types.items()}
        assert set(value) <= set(types), f"{at}: {kind} has no {sorted(set(value) - set(types))}"
        for name, one in value.items():
            check_against(models, types[name], one, f"{at}.{name}")
