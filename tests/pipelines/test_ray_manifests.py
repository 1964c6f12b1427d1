"""KubeRay's manifests: pods held against Kubernetes' own models, the rest against the fields written down here.

KubeRay's CRD schemas are in no registry that this was built with, so FIELDS is by hand; Ray's own reader of a
RayCluster (the autoscaler's) is the second opinion.
"""

from __future__ import annotations

import importlib.metadata
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from components.config import STEPS
from components.scaling import Scaling
from moso.config import build
from moso.errors import ConfigError
from pipelines.ray_manifests import FOLDER, STORAGE, render
from tests.pipelines.openapi import check_against

VALUES = FOLDER / "values.yaml"
CLUSTER = {"rayVersion": str, "authOptions": dict, "headGroupSpec": dict, "workerGroupSpecs": list}
GROUP = {"rayStartParams": dict, "template": dict}
WORKERS = {**GROUP, "groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}
JOB = {
    "entrypoint": str,
    "backoffLimit": int,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "rayClusterSpec": dict,
}


def check_fields(value: dict[str, Any], fields: dict[str, type], at: str) -> None:
    assert set(value) == set(fields), at
    for name, kind in fields.items():
        assert type(value[name]) is kind, f"{at}.{name}"


def check_cluster(spec: dict[str, Any]) -> None:
    check_fields(spec, CLUSTER, "spec")
    (workers,) = spec["workerGroupSpecs"]
    check_fields(spec["headGroupSpec"], GROUP, "headGroupSpec")
    check_fields(workers, WORKERS, "workerGroupSpecs[0]")
    for group in (spec["headGroupSpec"], workers):
        assert all(type(value) is str for value in group["rayStartParams"].values())
        check_against(client, "V1PodTemplateSpec", group["template"], "template")


def values_with(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(VALUES.read_text()), **changes}))
    return path


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load(render("cluster", VALUES))


def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    spec = cluster["spec"]
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def test_a_cluster_and_a_job_have_the_fields_of_ray_io_v1_and_pods_of_kubernetes(cluster: dict[str, Any]) -> None:
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    check_against(client, "V1ObjectMeta", cluster["metadata"], "metadata")
    check_cluster(cluster["spec"])
    job = yaml.safe_load(render("job", VALUES))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    check_fields(job["spec"], JOB, "spec")
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


def test_the_check_of_pods_finds_a_misspelt_field(cluster: dict[str, Any]) -> None:
    broken = json.loads(json.dumps(cluster["spec"]))
    broken["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(AssertionError, match="volumeMount"):
        check_cluster(broken)


def test_ray_s_own_reader_sees_a_head_without_workers_and_a_gpu_in_every_worker(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.kuberay import autoscaling_config

    types = autoscaling_config._generate_available_node_types_from_ray_cr_spec(cluster["spec"])
    head = types.pop(autoscaling_config._HEAD_GROUP_NAME)
    assert head["resources"]["CPU"] == 0
    assert "GPU" not in head["resources"]
    assert types["trainers"]["resources"]["GPU"] == 1
    assert types["trainers"]["resources"]["CPU"] == 4
    assert types["trainers"]["resources"]["memory"] == 32 * 2**30
    assert types["trainers"]["min_workers"] == types["trainers"]["max_workers"] == 2


def test_ray_is_asked_for_as_many_workers_as_there_are_pods(tmp_path: Path) -> None:
    cluster = yaml.safe_load(render("cluster", values_with(tmp_path, workers=5, gpus_per_worker=0, cpus_per_worker=3)))
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    assert workers["replicas"] == 5
    for pod in pods(cluster):
        environment = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
        scaling = build(Scaling, json.loads(environment["MOSO_RAY"]), "ray")
        assert scaling == Scaling(workers=5, gpus_per_worker=0, cpus_per_worker=3, address="auto", storage=STORAGE)
        assert environment["MOSO_DEVICE"] == "cpu"
        assert environment["MOSO_WORK"].startswith("/moso/")


def test_head_and_workers_run_one_image_as_a_plain_user_over_one_claim(cluster: dict[str, Any]) -> None:
    head, worker = pods(cluster)
    for pod in (head, worker):
        assert pod["securityContext"]["runAsNonRoot"] is True
        mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        assert mounts == {"moso": "/moso", "shared-memory": "/dev/shm"}
        assert {one["name"] for one in pod["volumes"]} == set(mounts)
    assert head["containers"][0]["image"] == worker["containers"][0]["image"]
    assert head["volumes"] == worker["volumes"]


def test_the_head_answers_the_jobs_api_to_other_pods(cluster: dict[str, Any]) -> None:
    """docs/kubeflow.md: ray.address is http://<name>-head-svc:8265, and ray.shared a folder below the claim's /moso."""
    head = cluster["spec"]["headGroupSpec"]
    assert head["rayStartParams"]["dashboard-host"] == "0.0.0.0"
    assert {"containerPort": 8265, "name": "dashboard"} in head["template"]["spec"]["containers"][0]["ports"]


def test_the_values_name_the_ray_that_is_installed() -> None:
    assert yaml.safe_load(VALUES.read_text())["ray_version"] == importlib.metadata.version("ray")


def test_the_job_s_command_is_a_step_with_its_paths_on_the_claim() -> None:
    words = shlex.split(yaml.safe_load(render("job", VALUES))["spec"]["entrypoint"])
    assert words[:2] == ["python", "-m"]
    assert words[2].split(".")[1] in STEPS
    assert all(word.partition("=")[2].startswith("/moso/") for word in words if "=" in word)


def test_secrets_are_named_and_no_value_of_one_is_taken(cluster: dict[str, Any], tmp_path: Path) -> None:
    for pod in pods(cluster):
        names = [one["secretRef"]["name"] for one in pod["containers"][0]["envFrom"]]
        assert names == ["moso-s3", "moso-mlflow"]
    with pytest.raises(ConfigError, match="holds a secret") as raised:
        render("cluster", values_with(tmp_path, mlflow="http://user:planted@mlflow"))
    assert "planted" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "workers = 0: must be at least 1"),
        ({"name": "Moso Ray"}, "must be a name of Kubernetes"),
        ({"worker": 2}, "worker = 2: unknown setting; did you mean 'workers'"),
    ],
)
def test_a_wrong_value_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        render("cluster", values_with(tmp_path, **changes))
