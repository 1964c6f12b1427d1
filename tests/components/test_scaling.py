"""params.yaml's `ray`: what it may say, who may override it, and that it is no part of what a step computes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from components.config import load_params
from components.on_ray import batches
from components.scaling import STEPS, Scaling, asked
from moso.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_as_shipped_every_step_is_one_process_without_ray() -> None:
    shipped = load_params(ROOT / "params.yaml")
    assert asked(shipped["ray"]) == Scaling() == asked(None)
    assert not Scaling().on_ray


@pytest.mark.parametrize(
    "values",
    [
        {"workers": 2},
        {"storage": "/shared"},
        {"address": "head:6379", "storage": "s3://b/ray"},
        {"address": "http://head:8265", "shared": "/s"},
    ],
)
def test_more_workers_a_cluster_or_a_storage_ask_for_ray(values: dict[str, Any]) -> None:
    assert asked(values).on_ray


def test_the_environment_is_laid_over_params(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSO_RAY", '{"workers": 4}')
    assert asked({"workers": 2, "max_failures": 1}) == Scaling(workers=4, max_failures=1)


def test_an_http_address_with_a_shared_folder_hands_the_step_over() -> None:
    assert Scaling(address="https://ray.example.org/team", shared="/shared").hands_over
    assert not Scaling(address="head:6379", storage="/shared").hands_over


@pytest.mark.parametrize(
    "values",
    [
        {"address": "http://user:planted@head:8265", "shared": "/shared"},
        {"address": "http://head:8265/?token=planted", "shared": "/shared"},
        {"address": "http://head:8265", "shared": "/shared", "storage": "s3://key:planted@bucket/ray"},
        {"storage": "s3://bucket/ray?X-Amz-Signature=planted"},
        {"storage": "gs://key:planted@bucket"},
        {"address": "user:planted@head:6379", "storage": "/s"},
        {"address": "http://user:x/planted@head:8265", "shared": "/s"},
        {"address": "http://head:8265/?access_token=planted", "shared": "/s"},
        {"storage": "s3://bucket/ray?access_token=planted"},
    ],
)
def test_a_secret_in_an_address_is_refused_without_being_told(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"holds a secret|without user and password|must be a folder or s3") as raised:
        asked(values)
    assert "planted" not in str(raised.value)


@pytest.mark.parametrize("text", ["two", "[2]", '{"workers": 2'])
def test_an_environment_that_is_no_mapping_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSO_RAY", text)
    with pytest.raises(ConfigError, match=r"MOSO_RAY = .*must be a JSON mapping"):
        asked(None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": 0}, r"ray\.workers = 0: must be at least 1"),
        ({"gpus_per_worker": -1}, r"ray\.gpus_per_worker = -1: must be at least 0"),
        ({"max_failures": -2}, r"ray\.max_failures = -2: must be at least -1"),
        ({"worker": 2}, r"ray\.worker = 2: unknown setting; did you mean 'workers'"),
        (
            {"address": "http://head:8265/?a=1", "shared": "/s"},
            r"ray\.address = .*must be local, auto, host:port or http",
        ),
        ({"address": "head"}, r"ray\.address = 'head': must be local, auto, host:port or http"),
        ({"address": "ray://head:10001", "storage": "/s"}, r"ray\.address = .*Ray Client.*address: auto"),
        ({"address": "head:6379"}, r"ray\.storage = None: machines of a cluster .* shared folder or to s3://"),
        ({"address": "http://head:8265"}, r"ray\.shared = None: .*a folder that both sides mount; set it to"),
        ({"address": "http://head:8265", "shared": "handed"}, r"ray\.shared = 'handed': must be an absolute path"),
        (
            {"address": "http://head:8265", "shared": "s3://b/x"},
            r"ray\.shared = 's3://b/x': must be a folder that is m",
        ),
        ({"address": "http://head:8265", "shared": "/s", "storage": "x"}, r"ray\.storage = 'x': must be an absolute"),
        ({"shared": "/s"}, r"ray\.shared = '/s': is for an http address.*; address is local; leave it out, or"),
        ({"storage": "gs://bucket"}, r"ray\.storage = 'gs://bucket': must be a folder or s3://bucket/prefix"),
    ],
)
def test_a_wrong_setting_names_field_value_and_remedy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asked(values)


def test_ray_may_be_left_out_of_params_and_other_names_are_still_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("dataset: sim_push\npreset: tiny\nseed: 0\n")
    assert "ray" not in load_params(path)
    path.write_text("dataset: sim_push\npreset: tiny\nseed: 0\nrays: {workers: 2}\n")
    with pytest.raises(ConfigError, match=r"rays = .*known: dataset, preset, seed, ray"):
        load_params(path)


def test_no_stage_depends_on_how_it_is_run() -> None:
    """Neither on the setting nor on the code behind it: more workers make no stage run again."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in STEPS:
        params = [
            entry for group in stages[name]["params"] for entry in (group if isinstance(group, dict) else [group])
        ]
        assert "ray" not in params
        assert not [path for path in stages[name]["deps"] if "ray" in path or "scaling" in path]


def test_the_effective_batch_is_told_with_its_shares() -> None:
    training = SimpleNamespace(training=SimpleNamespace(batch=5))
    assert batches(training, 2) == "effective batch 5: 2 workers with 2 or 3 samples each"
    assert batches(SimpleNamespace(training=SimpleNamespace(batch=8)), 2).endswith("2 workers with 4 samples each")
    assert batches(SimpleNamespace(batch=16), 3) == "batches of 16 clips, dealt to 3 workers"
    with pytest.raises(ConfigError, match=r"ray\.workers = 6: a batch has 5 samples; at most 5 workers"):
        batches(training, 6)
