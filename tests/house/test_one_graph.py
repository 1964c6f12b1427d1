"""Contract 11: dvc.yaml, the compiled Kubeflow pipeline, the folders and params.yaml are one graph."""

import dataclasses
import importlib
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from google.protobuf.json_format import MessageToDict
from kfp.compiler.pipeline_spec_builder import to_protobuf_value

from components.config import COMMON, STEPS, load_params, resolve_all
from components.scaling import asked
from moso.config import build
from pipelines.cli import COMPILED
from pipelines.cluster import load_cluster, metadata
from pipelines.training import arguments, compiled

ROOT = Path(__file__).parents[2]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
COMPILED_SPEC = next(yaml.safe_load_all((COMPILED / "training.yaml").read_text()))
PRESETS = sorted((ROOT / "moso" / "presets").rglob("*.yaml"))


class Edge(NamedTuple):
    producer: str
    artifact: str
    consumer: str


def command_paths(stage: dict[str, Any], option: str) -> dict[str, str]:
    """name -> path of the `--in` or `--out` options of a stage's command."""
    words = stage["cmd"].split()
    return dict(b.split("=", 1) for a, b in itertools.pairwise(words) if a == option)


def listed(entries: list[Any]) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def dvc_edges() -> set[Edge]:
    made = {path: (step, name) for step, s in STAGES.items() for name, path in command_paths(s, "--out").items()}
    edges = set()
    for step, stage in STAGES.items():
        for name, path in command_paths(stage, "--in").items():
            producer, artifact = made[path]
            assert artifact == name, f"{step} calls {producer}'s output {artifact} {name}"
            edges.add(Edge(producer, name, step))
    return edges


def kubeflow_edges() -> set[Edge]:
    edges = set()
    for task, spec in COMPILED_SPEC["root"]["dag"]["tasks"].items():
        for name, source in spec.get("inputs", {}).get("artifacts", {}).items():
            output = source["taskOutputArtifact"]
            assert output["outputArtifactKey"] == name
            edges.add(Edge(output["producerTask"].replace("-", "_"), name, task.replace("-", "_")))
    return edges


def test_stages_tasks_folders_and_sections_have_the_same_seven_names() -> None:
    tasks = [name.replace("-", "_") for name in COMPILED_SPEC["root"]["dag"]["tasks"]]
    folders = [path.parent.name for path in (ROOT / "components").glob("*/step.py")]
    sections = [key for key in load_params(ROOT / "params.yaml") if key not in COMMON]
    assert list(STAGES) == list(STEPS)
    assert sections == list(STEPS)
    assert sorted(tasks) == sorted(folders) == sorted(STEPS)


def test_dvc_and_kubeflow_have_the_same_edges() -> None:
    assert dvc_edges() == kubeflow_edges()
    assert len(dvc_edges()) == 12


def test_a_task_waits_for_every_task_whose_output_it_reads() -> None:
    for task, spec in COMPILED_SPEC["root"]["dag"]["tasks"].items():
        producers = {
            edge.producer.replace("_", "-") for edge in kubeflow_edges() if edge.consumer == task.replace("-", "_")
        }
        assert producers <= set(spec.get("dependentTasks", [])), task


@pytest.mark.parametrize("step", STEPS)
def test_a_stage_depends_on_what_its_command_reads_and_owns_what_it_writes(step: str) -> None:
    """A folder that DVC lists file by file (the report, which promote writes beside) is covered by its files."""
    stage = STAGES[step]
    deps, outs = listed(stage["deps"]), listed(stage["outs"] + stage.get("metrics", []))
    for option, paths in (("--in", deps), ("--out", outs)):
        named = command_paths(stage, option).values()
        for path in named:
            assert path in paths or any(other.startswith(f"{path}/") for other in paths), (option, path)
        data = [path for path in paths if not path.startswith(("moso", "components", "data/specs", "mlflow"))]
        for path in data:
            assert any(path == name or path.startswith(f"{name}/") for name in named), (option, path)


@pytest.mark.parametrize("step", STEPS)
def test_a_stage_tracks_its_own_sections_and_seed_and_data_set_only_where_its_config_has_them(step: str) -> None:
    schema = importlib.import_module(f"components.{step}.step").Config
    fields = {field.name for field in dataclasses.fields(schema)}
    tracked = STAGES[step]["params"]
    assert step in tracked
    assert {"moso/presets/${dataset}/${preset}.yaml": ["base", step]} in tracked
    assert {"moso/presets/paper.yaml": [step]} in tracked
    assert ("seed" in tracked) == ("seed" in fields)
    assert ("dataset" in tracked) == bool({"spec", "data_set"} & fields)
    files = {"moso/presets/${dataset}/${preset}.yaml", "moso/presets/paper.yaml"}
    assert set(listed(tracked)) <= {step, "seed", "dataset"} | files


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_preset_has_a_section_for_every_step_and_no_base_but_paper(preset: Path) -> None:
    """DVC compares a stage's section of two files: the preset's and paper's. One missing there is an error of DVC's,
    one inherited from a third file would change unseen."""
    content = yaml.safe_load(preset.read_text())
    base = content.pop("base")
    assert base in (None, "paper")
    assert preset.stem != "paper" or base is None
    assert set(content) == set(STEPS)


def test_data_and_models_of_a_data_set_lie_in_folders_of_its_own() -> None:
    """So that switching the data set never deletes another's; reports are of the last run, whichever it was."""
    for step, stage in STAGES.items():
        for path in listed(stage["outs"]):
            assert "/${dataset}/" in path or (step in ("evaluate", "promote") and path.startswith("reports/")), path


def test_compiling_gives_the_committed_bytes_again_and_again() -> None:
    assert compiled(load_cluster()) == compiled(load_cluster()) == (COMPILED / "training.yaml").read_text()


def test_every_component_takes_its_image_from_one_place_and_installs_nothing() -> None:
    from components import images

    executors = COMPILED_SPEC["deploymentSpec"]["executors"]
    assert len(executors) == len(STEPS)
    for name, executor in executors.items():
        step = name.removeprefix("exec-").replace("-", "_")
        assert executor["container"]["image"] == images.reference(metadata(step)["image"])
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_what_kubeflow_is_given_builds_the_same_configs() -> None:
    """Its parameters carry no None and turn whole numbers into floats; the steps must see no difference."""
    params = {**load_params(ROOT / "params.yaml"), "preset": "tiny"}
    configs = {**resolve_all(params, ROOT / "data" / "specs"), "ray": asked(params["ray"])}
    given = arguments(params, ROOT / "data" / "specs")
    assert set(given) == set(configs)
    for name, values in given.items():
        received = MessageToDict(to_protobuf_value(values))
        assert build(type(configs[name]), received, name) == configs[name]
