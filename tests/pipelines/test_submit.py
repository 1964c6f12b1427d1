"""`moso pipeline submit` against a server on loopback that refuses what kfp-server-api's models do not allow."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import SPECS, STEPS, load_params, resolve_all
from moso.errors import ConfigError, MosoError
from pipelines.cluster import ON_RAY, Volume, load_cluster
from pipelines.submit import Launch, Server, launch_of, submit
from pipelines.training import arguments
from tests.pipelines.conftest import API, TOKEN, Kubeflow

PARAMS = {**load_params(Path("params.yaml")), "preset": "tiny"}


def a_launch(**changes: Any) -> Launch:
    asked = {"name": "a run", "experiment": "moso", "pipeline_root": "s3://bucket/root", **changes}
    cluster = asked.pop("cluster", None) or load_cluster()
    params = {**PARAMS, **asked.pop("params", {})}
    return launch_of(arguments(params), resolve_all(params, SPECS)["ingest"], cluster, **asked)


@pytest.fixture(scope="module")
def launch() -> Launch:
    return a_launch()


def server_of(kubeflow: Kubeflow, token: str | None = TOKEN) -> Server:
    return Server.of(kubeflow.address, "team", token)


def test_a_run_is_created_with_every_step_s_resolved_settings_in_an_experiment_of_the_namespace(
    kubeflow: Kubeflow, launch: Launch
) -> None:
    address = submit(server_of(kubeflow), launch)
    (experiment,), (run,) = kubeflow.experiments, kubeflow.runs
    assert (experiment["display_name"], experiment["namespace"]) == ("moso", "team")
    assert run["experiment_id"] == experiment["experiment_id"]
    assert address == f"{kubeflow.address}/#/runs/details/{run['run_id']}"
    assert run["runtime_config"]["pipeline_root"] == "s3://bucket/root"
    given = run["runtime_config"]["parameters"]
    assert given == {**arguments(PARAMS), "raw_digest": "simulated"}
    assert set(given) == {*STEPS, "ray", "raw_digest"}


def test_a_second_run_goes_into_the_same_experiment(kubeflow: Kubeflow, launch: Launch) -> None:
    for _ in range(2):
        submit(server_of(kubeflow), launch)
    assert len(kubeflow.experiments) == 1
    assert len(kubeflow.runs) == 2


def test_an_archived_experiment_is_not_filed_into(kubeflow: Kubeflow, launch: Launch) -> None:
    old = {"display_name": "moso", "experiment_id": "old", "storage_state": "ARCHIVED"}
    kubeflow.experiments.append(old)
    submit(server_of(kubeflow), launch)
    assert kubeflow.runs[0]["experiment_id"] != "old"


@pytest.mark.parametrize("token", [None, "another-token-99"])
def test_a_server_that_wants_another_token_is_one_line_without_any_token(
    kubeflow: Kubeflow, launch: Launch, token: str | None
) -> None:
    with pytest.raises(MosoError, match=r"KFP_TOKEN") as raised:
        submit(server_of(kubeflow, token), launch)
    assert "\n" not in str(raised.value)
    assert "another-token" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "said"), [(403, "check KFP_NAMESPACE"), (404, "Kubeflow Pipelines 2"), (500, "refuses with 500")]
)
def test_what_the_server_says_is_one_line_with_the_token_masked(
    kubeflow: Kubeflow, launch: Launch, status: int, said: str
) -> None:
    kubeflow.fail[f"POST {API}/runs"] = (status, json.dumps({"message": f"no\n{TOKEN} here"}))
    with pytest.raises(MosoError, match=said) as raised:
        submit(server_of(kubeflow), launch)
    assert "\n" not in str(raised.value)
    assert TOKEN not in str(raised.value)
    assert "no *** here" in str(raised.value)


def test_a_login_page_in_the_place_of_an_answer_is_told_from_kubeflow(kubeflow: Kubeflow, launch: Launch) -> None:
    kubeflow.fail[f"POST {API}/experiments"] = (200, "<html>sign in</html>")
    with pytest.raises(MosoError, match="does not answer as Kubeflow Pipelines 2 does"):
        submit(server_of(kubeflow), launch)


def test_a_server_that_is_away_is_one_line(launch: Launch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(MosoError, match=r"does not answer \(.*refused.*\); check KFP_HOST") as raised:
        submit(Server.of(address, None, TOKEN), launch)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("host", [None, "", "kubeflow.example.org", "https://user:word@kubeflow.example.org"])
def test_a_missing_or_unfit_host_is_refused_and_says_which_variable(host: str | None) -> None:
    with pytest.raises(ConfigError, match="KFP_HOST") as raised:
        Server.of(host, None, None)
    assert "word" not in str(raised.value).replace("user and password", "")


def test_a_token_with_a_break_in_it_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match="KFP_TOKEN") as raised:
        Server.of("http://localhost", None, "half\nof it")
    assert "half" not in str(raised.value)
    assert "secret" not in repr(Server.of("http://localhost", None, "secret"))


@pytest.mark.parametrize(
    ("ray", "message"),
    [
        ({"workers": 4, "gpus_per_worker": 1}, r"resources\.train_vqvae\.gpus = 1: 4 workers .* set it to 4"),
        ({"workers": 2, "gpus_per_worker": 0}, r"resources\.train_vqvae\.gpus = 1: 2 workers .* set it to 0"),
        (
            {"address": "ray-head:6379", "storage": "s3://b/ray"},
            r"ray\.address = 'ray-head:6379'.*http://HEAD:8265 with ray\.shared",
        ),
    ],
)
def test_workers_that_the_pod_cannot_hold_are_refused_before_anything_is_sent(
    ray: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        a_launch(params={"ray": ray})


def test_workers_that_share_the_pod_s_gpus_reach_the_run() -> None:
    gpus = {step: {"gpus": 2} for step in ("train_vqvae", "extract_tokens", "train_transformer")}
    cluster = dataclasses.replace(load_cluster(), resources=gpus)
    launch = a_launch(cluster=cluster, params={"ray": {"workers": 2, "gpus_per_worker": 1}})
    assert launch.parameters["ray"]["workers"] == 2


HANDED = {"workers": 4, "gpus_per_worker": 1, "address": "http://moso-ray-head-svc:8265", "shared": "/moso/handed"}
NO_GPUS = {step: {"gpus": 0} for step in ON_RAY}


def test_a_cluster_s_address_reaches_the_run_where_the_pods_mount_its_claim_and_hold_no_gpu_themselves() -> None:
    claim = Volume("moso-ray", "/moso", steps=ON_RAY)
    cluster = dataclasses.replace(load_cluster(), resources=NO_GPUS, volumes=(claim,), work=None)
    launch = a_launch(cluster=cluster, params={"ray": HANDED})
    given = launch.parameters["ray"]
    assert (given["address"], given["shared"]) == (HANDED["address"], "/moso/handed")
    mounts = launch.pipeline_spec["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for step in ON_RAY:
        (mount,) = mounts[f"exec-{step.replace('_', '-')}"]["pvcMount"]
        assert (mount["pvcNameParameter"]["runtimeValue"]["constant"], mount["mountPath"]) == ("moso-ray", "/moso")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"ray\.shared = '/moso/handed': lies on no claim of train_vqvae's pod.*cluster\.yaml's volumes"),
        (
            {"volumes": (Volume("a", "/moso", steps=ON_RAY[:2]), Volume("b", "/moso", steps=ON_RAY[2:]))},
            r"lies on several claims: a at /moso .*, b at /moso .*; mount one in all three steps",
        ),
        (
            {"volumes": (Volume("moso-ray", "/moso"),), "resources": {}},
            r"resources\.train_vqvae\.gpus = 1: would stand idle.*set it to 0",
        ),
        ({"volumes": (Volume("moso-ray", "/moso/hand"),)}, r"lies on no claim"),
    ],
)
def test_a_pod_that_cannot_hand_its_step_over_is_refused_before_anything_is_sent(
    changes: dict[str, Any], message: str
) -> None:
    cluster = dataclasses.replace(load_cluster(), **{"resources": NO_GPUS, **changes})
    with pytest.raises(ConfigError, match=message):
        a_launch(cluster=cluster, params={"ray": HANDED})


def test_the_claim_that_is_mounted_innermost_counts() -> None:
    """/moso/work is the claim of the work folders, whatever is mounted at /moso."""
    cluster = dataclasses.replace(load_cluster(), volumes=(Volume("moso-ray", "/moso"),))
    assert cluster.volume_at("train_vqvae", "/moso/work/handed") == cluster.work
    assert cluster.volume_at("train_vqvae", "/moso/handed") == Volume("moso-ray", "/moso")
    assert cluster.volume_at("train_vqvae", "/elsewhere") is None


def test_a_setting_that_holds_a_password_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"arguments\.ingest\.raw") as raised:
        a_launch(params={"ingest": {"raw": "s3://user:planted@bucket/videos"}})
    assert "planted" not in str(raised.value)


def test_an_artefact_root_that_is_no_object_store_is_refused() -> None:
    with pytest.raises(ConfigError, match="--pipeline-root = '/tmp/x': must begin with s3://"):
        a_launch(pipeline_root="/tmp/x")


def test_the_command_takes_server_and_token_from_the_environment_and_prints_the_run_s_page_alone(
    kubeflow: Kubeflow, tmp_path: Path
) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KFP_", "MOSO_"))}
    environment |= {"KFP_HOST": kubeflow.address, "KFP_TOKEN": f"{TOKEN}\n", "KFP_NAMESPACE": "team"}
    command = [sys.executable, "-m", "moso.cli", "pipeline", "submit", "--params", str(tmp_path / "params.yaml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = kubeflow.runs
    assert done.stdout == f"run: {kubeflow.address}/#/runs/details/{run['run_id']}\n"
    assert run["display_name"] == "moso-sim_push-tiny"
    assert TOKEN not in done.stdout + done.stderr
    assert TOKEN not in json.dumps(run)
