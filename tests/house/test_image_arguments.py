"""What is handed to a build of an image is in its history for good: no secret may be."""

import re
from pathlib import Path

from components.image_build import DOCKERFILE, Engine, build
from moso.adapters.redact import SECRET_NAME

ROOT = Path(__file__).parents[2]


def test_no_secret_of_the_builders_environment_is_an_argument_of_the_build(tmp_path, monkeypatch):
    recorder = tmp_path / "engine"
    recorder.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/arguments\n')
    recorder.chmod(0o755)
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "KFP_TOKEN", "MOSO_WEBHOOK", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "https://me:planted@example.org/planted")
    build("serve", Engine(script=recorder))
    arguments = (tmp_path / "arguments").read_text()
    assert "TARGET=serve" in arguments
    assert "planted" not in arguments
    assert "planted" not in " ".join(Engine().command("serve", {"VARIANT": "cpu"}))


def test_the_dockerfile_has_no_argument_and_no_variable_for_a_secret():
    text = (ROOT / DOCKERFILE).read_text().replace("\\\n", " ")
    names = [
        name
        for line in text.splitlines()
        if line.startswith(("ARG ", "ENV "))
        for name in re.findall(r"([A-Za-z_]+)(?==|\s*$)", line.partition(" ")[2])
    ]
    assert {"TORCH_INDEX", "MOSO_IMAGE", "HOME"} <= set(names)
    assert [name for name in names if SECRET_NAME.search(f"_{name}")] == []
    assert SECRET_NAME.search("_AWS_SECRET_ACCESS_KEY")  # as the search would find one
