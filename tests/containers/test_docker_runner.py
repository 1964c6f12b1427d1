"""How kfp's DockerRunner is set up; what needs no engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from components.image_build import Engine, find_engine
from moso.errors import ConfigError, DataError
from pipelines.docker import engine_arguments, engine_errors, environment


def test_a_container_gets_the_settings_and_keys_of_the_caller_and_no_others(tmp_path: Path) -> None:
    given = {"AWS_ACCESS_KEY_ID": "k", "MOSO_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "SHELL": "/bin/sh", "PATH": "/x"}
    given |= {"MOSO_GIT_COMMIT": "of this machine", "MOSO_IMAGE_DATA": "x", "MOSO_REGISTRY": "localhost"}
    assert environment(tmp_path, given) == {
        "AWS_ACCESS_KEY_ID": "k",
        "MOSO_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        "MOSO_WORK": str(tmp_path / "work"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}",
    }


def test_a_tracking_server_of_the_caller_is_the_containers_too(tmp_path: Path) -> None:
    given = {"MLFLOW_TRACKING_URI": "https://mlflow.example.com", "MOSO_WORK": "/claim/work"}
    assert environment(tmp_path, given) == given


def test_without_docker_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(DataError, match="start it, or set DOCKER_HOST") as caught:
        engine_arguments()
    assert "\n" not in str(caught.value)


def test_an_image_that_is_nowhere_is_one_line_that_says_what_to_do() -> None:
    from docker.errors import APIError, ImageNotFound

    with pytest.raises(DataError, match=r"no such image.*make images.*MOSO_REGISTRY") as caught, engine_errors():
        raise ImageNotFound("404 Client Error", explanation="no such image:\n localhost/moso-train:0.1.0")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="docker info"), engine_errors():
        raise APIError("500 Server Error")


def test_without_any_engine_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MOSO_CONTAINER_ENGINE", str(tmp_path / "engine"))
    with pytest.raises(DataError, match="start Docker, or name a script") as caught:
        find_engine()
    assert "\n" not in str(caught.value)


def test_docker_is_asked_for_a_target_and_the_script_for_the_last_stage() -> None:
    docker, script = Engine(), Engine(Path("/x/container-engine"), "unix:///s.sock")
    assert docker.command("data", {"VARIANT": "cpu"})[:6] == [
        *("docker", "build", "--target", "data", "--build-arg", "VARIANT=cpu")
    ]
    by_script = script.command("data", {"VARIANT": "cpu"})
    assert by_script[:4] == ["/x/container-engine", "build", ".", "components/Dockerfile"]
    assert by_script[5:] == ["TARGET=data", "VARIANT=cpu"]


def test_the_script_is_asked_for_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "engine"
    script.write_text('#!/bin/sh\n[ "$1" = env ] && echo "export DOCKER_HOST=unix:///run/engine.sock"\n')
    script.chmod(0o755)
    monkeypatch.setenv("MOSO_CONTAINER_ENGINE", str(script))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    assert find_engine(start=False) == Engine(script, "unix:///run/engine.sock")


@pytest.mark.parametrize(("target", "variant", "named"), [("dat", "cpu", "target = 'dat'"), ("data", "gpu", "variant")])
def test_an_unknown_target_or_variant_is_refused_before_anything_is_built(
    target: str, variant: str, named: str, tmp_path: Path
) -> None:
    from components.image_build import build

    with pytest.raises(ConfigError, match=named):
        build(target, Engine(tmp_path / "would fail"), variant=variant)
    assert os.listdir(tmp_path) == []
