"""The retraining pipeline: its compiled graph, and one recurring run of it on a server."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from components.config import STEPS, load_params
from moso.config import build
from moso.errors import ConfigError
from pipelines import retraining
from pipelines.cli import COMPILED, command
from pipelines.cluster import load_cluster
from pipelines.retrain_settings import RetrainSettings, load_settings
from pipelines.retrain_state import configs_of, settings_digest
from tests.pipelines.conftest import TOKEN, Kubeflow

ROOT = Path(__file__).parents[2]
SPEC = next(yaml.safe_load_all((COMPILED / "retraining.yaml").read_text()))
COMPONENTS = SPEC["components"]
FIRST = ["--first-episodes", "s3://bucket/first/episodes", "--first-frames", "s3://bucket/first/frames"]


def tasks(dag: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dag["dag"]["tasks"]


def inside(task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return tasks(COMPONENTS[task["componentRef"]["name"]])


def named(found: dict[str, dict[str, Any]]) -> list[str]:
    """Components' names, one a task: a second train-transformer is one too."""
    return sorted(task["componentRef"]["name"].removeprefix("comp-").rstrip("-0123456789") for task in found.values())


BODY = inside(tasks(SPEC["root"])["exit-handler-1"])
(NEW,) = [task for task in BODY.values() if "triggerPolicy" in task]
WHEN_NEW = inside(NEW)
(BRANCHES,) = [task for name, task in WHEN_NEW.items() if name.startswith("condition-branches")]
KEEP, RETRAIN = inside(BRANCHES).values()
COMPARED = ["decide", "evaluate", "evaluate", "evaluate", "evaluate"]


def test_the_committed_yaml_is_what_the_sources_compile_to() -> None:
    assert retraining.compiled(load_cluster()) == (COMPILED / "retraining.yaml").read_text()


def test_without_new_episodes_nothing_but_looking_is_done() -> None:
    assert named({k: v for k, v in BODY.items() if v is not NEW}) == ["importer", "importer", "look"]
    condition = NEW["triggerPolicy"]["condition"]
    assert condition == "inputs.parameter_values['pipelinechannel--look-Output'] == 'new'"
    others = {name: task for name, task in WHEN_NEW.items() if task is not BRANCHES}
    assert named(others) == ["drift", "extract-tokens", "preprocess"]


def test_stage_1_stays_or_is_retrained_from_the_champion_s_and_one_of_both_happens() -> None:
    for task, said in ((KEEP, "=="), (RETRAIN, "!")):
        assert "drift-Output" in task["triggerPolicy"]["condition"]
        assert said in task["triggerPolicy"]["condition"]
    assert named(inside(KEEP)) == sorted([*COMPARED, "train-transformer"])
    assert named(inside(RETRAIN)) == sorted([*COMPARED, "extract-tokens", "train-transformer", "train-vqvae"])


def test_who_is_fine_tuned_has_the_champion_s_part_as_its_parent_and_stage_2_on_other_codes_has_none() -> None:
    def artifacts(branch: dict[str, Any], start: str) -> dict[str, Any]:
        (found,) = [task for name, task in inside(branch).items() if name.startswith(start)]
        return found["inputs"]["artifacts"]

    kept = artifacts(KEEP, "train-transformer")
    assert kept["parent"] == {"componentInputArtifact": "pipelinechannel--look-transformer"}
    assert artifacts(RETRAIN, "train-vqvae")["parent"] == {"componentInputArtifact": "pipelinechannel--look-vqvae"}
    assert set(artifacts(RETRAIN, "train-transformer")) == {"tokens"}


@pytest.mark.parametrize("branch", [KEEP, RETRAIN], ids=["keep", "retrain"])
def test_candidate_and_champion_are_evaluated_on_equal_frames_under_equal_settings(branch: dict[str, Any]) -> None:
    found = [task["inputs"] for name, task in inside(branch).items() if name.startswith("evaluate")]
    sets: dict[str, list[Any]] = {}
    for task in found:
        sets.setdefault(str(task["artifacts"]["frames"]), []).append(task["parameters"]["config"])
    assert len(sets) == 2
    for configs in sets.values():
        assert len(configs) == 2
        assert configs[0] == configs[1]
    assert len({str(task["artifacts"]["transformer"]) for task in found}) == 2


def test_telling_is_done_whatever_happened_and_the_run_s_id_owns_the_lock() -> None:
    tell = tasks(SPEC["root"])["tell"]
    assert tell["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    owners = [task["inputs"]["parameters"]["owner"] for task in (tell, BODY["look"], WHEN_NEW["drift"])]
    assert all(owner == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}} for owner in owners)


def test_the_steps_are_those_of_the_training_pipeline_and_its_own_tasks_are_never_cached() -> None:
    training = next(yaml.safe_load_all((COMPILED / "training.yaml").read_text()))
    known = {name.replace("_", "-") for name in STEPS}
    own = set(retraining.PLACED_AS)
    used = {name.removeprefix("exec-").rstrip("-0123456789") for name in SPEC["deploymentSpec"]["executors"]}
    assert used - {"importer"} <= known | own
    assert own <= used
    for name, executor in SPEC["deploymentSpec"]["executors"].items():
        step = name.rstrip("-0123456789")
        if step.removeprefix("exec-") in known:
            assert executor["container"] == {
                **training["deploymentSpec"]["executors"][step]["container"],
                **({"resources": executor["container"]["resources"]} if "resources" in executor["container"] else {}),
            }
    for found in (tasks(SPEC["root"]), BODY, WHEN_NEW, inside(KEEP), inside(RETRAIN)):
        for name, task in found.items():
            if name.rstrip("-0123456789") in own:
                assert not (task.get("cachingOptions") or {}).get("enableCache"), name


def test_what_kubeflow_is_given_builds_the_same_configs() -> None:
    params = {**load_params(ROOT / "params.yaml"), "preset": "tiny"}
    settings = RetrainSettings(train_transformer={"training": {"steps": 3}})
    where = {"state": "/moso/work/r", "first_episodes": "s3://b/e", "first_frames": "s3://b/f"}
    given = retraining.arguments(params, settings, **where, specs=ROOT / "data" / "specs")
    configs = configs_of(params, settings, ROOT / "data" / "specs")
    assert configs["train_transformer"].training.steps == 3
    for step, config in configs.items():
        assert build(type(config), given[step], step) == config
    assert build(RetrainSettings, given["settings"], "settings") == settings
    assert given["asked"] == settings_digest(settings, configs)
    of_new = build(type(configs["evaluate"]), given["evaluate_new"], "evaluate")
    assert (of_new.videos, of_new.min_clips, of_new.min_episodes) == (None, 1, settings.least_test_episodes)
    assert set(given) == set(SPEC["root"]["inputDefinitions"]["parameters"])


@pytest.fixture
def schedule(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`moso pipeline schedule retraining` of a data set of recordings against the server; its output."""
    recorded = tmp_path / "params.yaml"
    recorded.write_text("dataset: bair\npreset: default\nseed: 0\n")
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    monkeypatch.chdir(ROOT)
    server = ["--host", kubeflow.address, "--namespace", "team", "--pipeline-root", "s3://bucket/root"]

    def call(*more: str, cron: str = "0 3 * * *", first: list[str] = FIRST, params: Path = recorded) -> str:
        asked = ["--cron", cron, "--params", str(params), *server, *first, *more]
        done = CliRunner().invoke(command, ["schedule", "retraining", *asked])
        if done.exception:
            raise done.exception
        return done.output

    return call


def test_the_retraining_is_scheduled_once_and_another_time_replaces_it(kubeflow: Kubeflow, schedule: Any) -> None:
    assert schedule().startswith("created: moso-bair-")
    assert schedule().startswith("unchanged: ")
    assert schedule(cron="0 5 * * *").startswith("updated: ")
    (made,) = kubeflow.recurring
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 5 * * *"
    assert made["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "moso-retraining"
    assert made["runtime_config"]["parameters"]["state"] == "/moso/work/retraining/bair"
    assert kubeflow.most_enabled == 1


def test_a_schedule_of_the_training_beside_it_is_another_one(kubeflow: Kubeflow, schedule: Any) -> None:
    schedule()
    server = ["--host", kubeflow.address, "--namespace", "team"]
    done = CliRunner().invoke(command, ["schedule", "--cron", "0 3 * * 0", *server])
    assert done.output.startswith("created: "), done.output
    assert len({one["display_name"] for one in kubeflow.recurring}) == 2


def test_a_retraining_without_a_first_run_is_refused_by_the_option(schedule: Any) -> None:
    with pytest.raises(ConfigError, match="--first-frames"):
        schedule(first=FIRST[:2])


def test_a_simulated_data_set_to_which_no_recordings_come_is_not_scheduled(kubeflow: Kubeflow, schedule: Any) -> None:
    with pytest.raises(ConfigError, match=r"source\.kind = 'simulate': a simulated data set gets no recordings"):
        schedule(params=ROOT / "params.yaml")
    assert kubeflow.recurring == []


def test_a_state_folder_that_each_pod_would_have_for_itself_is_refused(schedule: Any) -> None:
    with pytest.raises(ConfigError, match="--state"):
        schedule("--state", "retraining")


def test_the_settings_file_is_the_default(schedule: Any, kubeflow: Kubeflow) -> None:
    schedule()
    given = kubeflow.recurring[0]["runtime_config"]["parameters"]["settings"]
    assert build(RetrainSettings, given, "settings") == load_settings()


def test_every_own_task_is_placed_as_a_step() -> None:
    assert set(retraining.PLACED_AS.values()) <= set(STEPS)
    for name in retraining.PLACED_AS:
        own = importlib.import_module("pipelines.retraining_components")
        assert getattr(own, name).component_spec.implementation.container.image
