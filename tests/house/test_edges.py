"""A task is the same at its three edges: method of the facade, command, request to the registered model."""

import ast
import inspect
import re
from pathlib import Path

import click
import pytest

from moso.cli import command
from moso.tasks import Model
from moso.tasks.request import PARAMETERS, SETTINGS, TASKS

COMMANDS = [task for task in TASKS if task != "preprocess"]  # it is `moso decompose --thresholds`
# How a command comes to its frames and model, and where its result goes: no part of a task.
AROUND = {"model", "sources", "start", "resize", "cache", "device", "batch", "output", "fps", "bare"}
# What one edge has and another has not, and why. All else must be equal.
INTENDED = {
    ("predict", "task"): "a request names its task",
    ("generate", "count"): "a request has as many videos as clips are handed over",
    ("generate", "kind"): "files of a folder, a matter of writing",
    ("interpolate", "sparse"): "how sources are read",
    ("decompose", "thresholds"): "`preprocess` and its low and high",
    ("interpolate", "scene_object"): "its scene and object tokens are those of the clip",
}
FRAMES = {"predict", "rollout", "interpolate", "decompose", "preprocess", "reconstruct", "encode"}  # as input


def method(task: str) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(getattr(Model, task)).parameters)
    for name in ("self", "on_progress", *(["frames"] if task in FRAMES else [])):
        parameters.pop(name, None)
    if sampling := parameters.pop("sampling", None):  # settings one by one at the other edges
        parameters |= dict.fromkeys(SETTINGS, sampling)
    return parameters


def options(task: str) -> dict[str, click.Parameter]:
    found = command.get_command(click.Context(command), task)
    assert found is not None
    named = {parameter.name: parameter for parameter in found.params if parameter.name not in AROUND}
    return {("object" if name == "object_" else str(name)): parameter for name, parameter in named.items()}


def request(task: str) -> set[str]:
    return {name for name, parameter in PARAMETERS.items() if task in parameter.tasks} - {"task"}


def intended(task: str) -> set[str]:
    return {name for other, name in INTENDED if other == task}


@pytest.mark.parametrize("task", COMMANDS)
def test_a_command_has_the_options_that_the_method_has(task: str) -> None:
    assert set(options(task)) ^ set(method(task)) <= intended(task)


@pytest.mark.parametrize("task", TASKS)
def test_a_request_has_the_parameters_that_the_method_has(task: str) -> None:
    assert request(task) ^ set(method(task)) <= intended(task)


def test_every_intended_difference_is_one() -> None:
    for task, name in INTENDED:
        if name != "task":
            assert len({name in options(task), name in request(task), name in method(task)}) == 2, (task, name)


@pytest.mark.parametrize("task", COMMANDS)
def test_defaults_are_equal(task: str) -> None:
    offered, asked = options(task), request(task)
    for name, parameter in method(task).items():
        if name not in asked or parameter.default is inspect.Parameter.empty:
            continue
        absent = PARAMETERS[name].absent  # an empty list means None: "not given"
        assert (None if absent == [] else absent) == parameter.default, name
        if name in offered:
            assert offered[name].to_info_dict()["default"] == parameter.default, name


def test_every_option_that_the_deviations_name_is_one_of_the_command_line() -> None:
    text = (Path(__file__).parents[2] / "docs" / "deviations.md").read_text()
    found = re.findall(r"`Model\.(\w+)\((\w+)=([^`]+)\)`", text)
    assert found
    for task, name, written in found:
        option, value = options(task)[name], ast.literal_eval(written)
        if isinstance(value, bool):
            assert (option.opts if value else option.secondary_opts) == [f"--{'' if value else 'no-'}{name}"]
        else:
            assert option.type.convert(value, option, None) == value
