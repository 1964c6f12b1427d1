"""cluster.yaml: what reaches the compiled pipeline, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import STEPS, load_params
from moso.config import build
from moso.errors import ConfigError
from pipelines.cluster import DEFAULT, Cluster, load_cluster
from pipelines.submit import pipeline_spec
from pipelines.training import arguments, compiled

ON_GPU = ("train_vqvae", "extract_tokens", "train_transformer", "evaluate")


def cluster_of(**changes: Any) -> Cluster:
    return build(Cluster, {**yaml.safe_load(DEFAULT.read_text()), **changes}, "cluster.yaml")


def parts(spec: dict[str, Any], step: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A step's container, task and Kubernetes settings in the compiled pipeline."""
    name = step.replace("_", "-")
    pipeline, platform = spec["pipeline_spec"], spec["platform_spec"]
    return (
        pipeline["deploymentSpec"]["executors"][f"exec-{name}"]["container"],
        pipeline["root"]["dag"]["tasks"][name],
        platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][f"exec-{name}"],
    )


@pytest.fixture(scope="module")
def default() -> dict[str, Any]:
    return pipeline_spec(compiled(load_cluster()))


@pytest.mark.parametrize("step", STEPS)
def test_gpus_are_asked_for_and_tolerated_where_a_step_computes_on_them(default: dict[str, Any], step: str) -> None:
    container, _, pod = parts(default, step)
    environment = {one["name"]: one["value"] for one in container["env"]}
    if step in ON_GPU:
        accelerator = container["resources"]["accelerator"]
        assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "1")
        assert pod["tolerations"] == [{"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}]
        assert environment["MOSO_DEVICE"] == "cuda"
    else:
        assert "accelerator" not in container["resources"]
        assert "tolerations" not in pod
        assert "MOSO_DEVICE" not in environment


@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_tried_again_and_finds_its_work_folder_on_the_claim(default: dict[str, Any], step: str) -> None:
    container, task, pod = parts(default, step)
    policy = task["retryPolicy"]
    assert policy == {
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
        "maxRetryCount": 3,
    }
    (mount,) = pod["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("moso-work", "/moso/work")
    assert {"name": "MOSO_WORK", "value": "/moso/work"} in container["env"]


@pytest.mark.parametrize("step", STEPS)
def test_secrets_are_named_and_their_values_are_nowhere(
    default: dict[str, Any], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, pod = parts(default, step)
    named = {one["secretName"]: one["keyToEnv"] for one in pod["secretAsEnv"]}
    assert {"envVar": "AWS_SECRET_ACCESS_KEY", "secretKey": "AWS_SECRET_ACCESS_KEY"} in named["moso-s3"]
    assert {"envVar": "MLFLOW_TRACKING_PASSWORD", "secretKey": "MLFLOW_TRACKING_PASSWORD"} in named["moso-mlflow"]


def test_no_secret_of_the_caller_s_environment_reaches_the_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "KFP_TOKEN", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, "planted-value")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:planted-value@mlflow")
    text = compiled(load_cluster())
    assert "planted" not in text + json.dumps(arguments(load_params(Path("params.yaml"))))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_SECRET_ACCESS_KEY", "planted"),
        ("MLFLOW_TRACKING_URI", "https://user:planted@mlflow"),
        ("SIGNED", "https://host/x?X-Amz-Signature=planted"),
    ],
)
def test_a_secret_s_value_in_cluster_yaml_is_refused_without_being_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"environment\.{name} .*Secret under `secrets`") as raised:
        cluster_of(environment={name: value})
    assert "planted" not in str(raised.value)


def test_a_cluster_says_more_than_the_component_where_it_wants_more() -> None:
    cluster = cluster_of(
        resources={"train_vqvae": {"gpus": 4, "memory": "64Gi"}, "evaluate": {"gpus": 0}},
        gpu={"accelerator": "amd.com/gpu", "node_selector": {"pool": "big"}},
        volumes=[{"claim": "raw", "path": "/raw", "steps": ["ingest"]}],
        tolerations=[{"key": "team", "value": "video", "effect": "NoSchedule"}],
        retries={"count": 0},
    )
    spec = pipeline_spec(compiled(cluster))
    container, task, pod = parts(spec, "train_vqvae")
    assert container["resources"]["resourceMemoryLimit"] == "64Gi"
    assert container["resources"]["resourceCpuRequest"] == "4"
    assert container["resources"]["accelerator"]["resourceType"] == "amd.com/gpu"
    assert container["resources"]["accelerator"]["resourceCount"] == "4"
    assert pod["nodeSelector"]["labels"] == {"pool": "big"}
    assert [one["key"] for one in pod["tolerations"]] == ["team"]
    assert "retryPolicy" not in task
    container, _, pod = parts(spec, "evaluate")
    assert "accelerator" not in container["resources"]
    assert "nodeSelector" not in pod
    claims = {step: [one["constant"] for one in parts(spec, step)[2]["pvcMount"]] for step in STEPS}
    assert claims == {step: ["moso-work", "raw"] if step == "ingest" else ["moso-work"] for step in STEPS}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resources": {"train": {}}}, "'train': is no step"),
        ({"resources": {"promote": {"memory": "8 GB"}}}, r"resources\.promote\.memory = '8 GB'"),
        ({"resources": {"promote": {"gpu": 1}}}, r"resources\.promote\.gpu = 1: unknown setting; did you mean 'gpus'"),
        ({"retries": {"backoff": "1m"}}, r"retries\.backoff = '1m': must be whole seconds"),
        ({"work": {"claim": "w", "path": "work"}}, r"work\.path = 'work': must be an absolute path"),
        ({"tolerations": [{"key": "a", "operator": "Is"}]}, "Equal"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cluster_of(**changes)


def test_a_cluster_without_a_tracking_server_is_refused_before_a_launch() -> None:
    with pytest.raises(ConfigError, match=r"MLFLOW_TRACKING_URI .* would go with the pod"):
        cluster_of(environment={}).check_tracking()
    cluster_of(environment={}, secrets=[{"name": "m", "env": {"uri": "MLFLOW_TRACKING_URI"}}]).check_tracking()


def test_the_local_runner_s_pipeline_has_nothing_of_a_cluster() -> None:
    (spec,) = yaml.safe_load_all(compiled(None))
    for executor in spec["deploymentSpec"]["executors"].values():
        assert not {"env", "resources"} & set(executor["container"])
