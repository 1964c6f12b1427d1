"""A component's metadata.yaml and README say what its signature in Kubeflow says, and its image is the one it names."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from components.config import STEPS
from pipelines.cluster import Cluster

ROOT = Path(__file__).parents[2]
KEYS = {"name", "description", "owner", "image", "parameters", "inputs", "outputs", "resources"}
KINDS = {"Dict": "dict", "String": "str"}  # as kfp calls them


def metadata_of(step: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "components" / step / "metadata.yaml").read_text())


def spec_of(step: str) -> Any:
    return getattr(importlib.import_module(f"components.{step}.component"), step).component_spec


def kind(name: str) -> str:
    """The artefact's class, from system.Dataset@0.0.1."""
    return name.removeprefix("system.").partition("@")[0]


@pytest.mark.parametrize("step", STEPS)
def test_metadata_agrees_with_the_signature(step: str) -> None:
    said, spec = metadata_of(step), spec_of(step)
    assert set(said) == KEYS
    assert said["name"] == step == spec.name.replace("-", "_")
    inputs = spec.inputs or {}
    artefacts = {name: kind(one.type) for name, one in inputs.items() if one.type.startswith("system.")}
    parameters = {name: KINDS[one.type] for name, one in inputs.items() if name not in artefacts}
    assert parameters == said["parameters"]
    assert artefacts == said["inputs"]
    assert {name: kind(one.type) for name, one in spec.outputs.items()} == said["outputs"]
    assert said["owner"]


@pytest.mark.parametrize("step", STEPS)
def test_metadata_names_the_image_of_the_component_and_a_target_of_the_dockerfile(step: str) -> None:
    from components import images

    said = metadata_of(step)["image"]
    assert spec_of(step).implementation.container.image == images.reference(said)
    source = (ROOT / "components" / step / "component.py").read_text()
    assert f"import {said.upper()}\n" in source
    assert re.search(rf"^FROM \S+ AS {said}$", (ROOT / "components" / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("step", STEPS)
def test_metadata_s_resources_are_what_a_cluster_is_asked_for(step: str) -> None:
    asked = Cluster().resources_of(step)
    assert {"cpu": asked.cpu, "memory": asked.memory, "gpus": asked.gpus} == {"gpus": 0} | metadata_of(step)[
        "resources"
    ]


@pytest.mark.parametrize("step", STEPS)
def test_the_readme_has_a_row_for_each_parameter_input_and_output_with_its_type(step: str) -> None:
    said, text = metadata_of(step), (ROOT / "components" / step / "README.md").read_text()
    rows = re.findall(r"^\| (parameter|input|output) \| `(\w+)` \| (\w+) \|", text, re.MULTILINE)
    sides = (("parameter", "parameters"), ("input", "inputs"), ("output", "outputs"))
    assert rows == [(side, name, of) for side, key in sides for name, of in said[key].items()]
    assert text.startswith(f"# {step}\n")
    assert f"Image: target `{said['image']}`" in text
    assert f"python -m components.{step}.step" in text


@pytest.mark.parametrize("step", STEPS)
def test_the_body_hands_the_step_its_config_and_every_path_by_name(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from components import main

    calls: list[tuple[Any, ...]] = []

    def call(name: str, config: Any, inputs: Any, outputs: Any, ray: Any = None) -> None:
        calls.append((name, config, inputs, outputs, ray))

    monkeypatch.setattr(main, "call", call)
    monkeypatch.setattr(main, "show", lambda report, metrics, page: calls.append((report, metrics.path, page.path)))
    said = metadata_of(step)
    given = {name: {"is": name} for name in said["parameters"]}
    paths = {name: SimpleNamespace(path=f"/at/{name}") for name in (*said["inputs"], *said["outputs"])}
    getattr(importlib.import_module(f"components.{step}.component"), step).python_func(**given, **paths)
    shown = [] if step != "evaluate" else [("/at/report", "/at/metrics", "/at/page")]
    outputs = {name: f"/at/{name}" for name in said["outputs"] if name not in ("metrics", "page")}
    inputs = {name: f"/at/{name}" for name in said["inputs"]}
    assert calls == [(step, {"is": "config"}, inputs, outputs, given.get("ray")), *shown]
