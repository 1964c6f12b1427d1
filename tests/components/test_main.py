"""The outside of a step, with a small step of its own run as a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.main import NamedPaths, show
from moso.errors import ConfigError

PARAMS = "dataset: d\npreset: default\nseed: 7\n"
STEP = """
import json, sys, time
from dataclasses import dataclass
from components import main as outside
from moso.errors import DataError, StopRequested

outside.resolve_all = lambda params, specs: None  # the other steps' settings are not this test's matter
outside.resolve = lambda step, schema, params, specs: schema(seed=params["seed"])

@dataclass(frozen=True)
class Config:
    seed: int

def run(config, inputs, outputs, context):
    seen = {"seed": config.seed, "input": inputs["source"].read_text(), "work": str(context.work)}
    outputs["result"].write_text(json.dumps(seen))
    BODY

outside.main("promote", Config, run)
"""


@pytest.fixture
def step(tmp_path: Path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "source").write_text("hello")

    def start(*arguments: str, body: str = "pass") -> subprocess.Popen[str]:
        (tmp_path / "step.py").write_text(STEP.replace("BODY", body))
        environment = {**os.environ, "MOSO_TRACKING": "off"}
        command = [sys.executable, "step.py", *arguments]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE)

    return start


PATHS = ("--in", "source=source", "--out", "result=result")


def test_a_step_gets_its_config_its_named_paths_and_a_work_folder_of_its_own(step, tmp_path: Path) -> None:
    process = step(*PATHS)
    assert process.wait() == 0, process.stderr.read()
    result = json.loads((tmp_path / "result").read_text())
    assert result == {"seed": 7, "input": "hello", "work": str(tmp_path / ".work" / "promote")}


def test_a_moso_error_is_one_line_and_exit_status_1(step) -> None:
    process = step(*PATHS, body='raise DataError("episode 3 is empty")')
    assert process.wait() == 1
    assert process.stderr.read() == "promote: episode 3 is empty\n"


def test_a_full_disk_is_one_line_that_says_what_to_do(step) -> None:
    """/dev/full answers every write as a full disk does."""
    process = step(*PATHS, body='open("/dev/full", "w").write("x" * 99999)')
    assert process.wait() == 1
    error = process.stderr.read()
    assert error.count("\n") == 1, error
    assert "No space left on device; make room there and run it again" in error


def test_a_bug_keeps_its_traceback(step) -> None:
    process = step(*PATHS, body="raise ZeroDivisionError")
    assert process.wait() == 1
    assert "Traceback" in process.stderr.read()


def test_a_missing_path_is_named_with_the_option_that_gives_it(step) -> None:
    process = step("--out", "result=result")
    assert process.wait() == 1
    message = process.stderr.read()
    assert "--in source" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_step_to_stop_and_it_ends_as_interrupted(step, tmp_path: Path, number: int) -> None:
    body = """open("ready", "w").close()
    while not context.stop: time.sleep(0.01)
    raise StopRequested("checkpoint 5 is written")"""
    process = step(*PATHS, body=body)
    while not (tmp_path / "ready").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait() == 143
    assert "run it again to go on (checkpoint 5 is written)" in process.stderr.read()


def test_named_paths_give_what_was_given(tmp_path: Path) -> None:
    paths = NamedPaths("evaluate", "--in", {"frames": tmp_path})
    assert paths["frames"] == tmp_path
    with pytest.raises(ConfigError, match="evaluate needs this path; add --in tokens=PATH"):
        paths["tokens"]


def test_figures_and_page_reach_kubeflow(tmp_path: Path) -> None:
    figures = {"prediction": {"psnr": 21.5, "ssim": 0.8}, "protocol_digest": "abc", "clips": 256}
    (tmp_path / "metrics.json").write_text(json.dumps(figures))
    (tmp_path / "index.html").write_text("<p>page</p>")
    logged: dict[str, float] = {}
    page = SimpleNamespace(path=str(tmp_path / "page"))
    show(str(tmp_path), SimpleNamespace(log_metric=logged.__setitem__), page)
    assert logged == {"prediction.psnr": 21.5, "prediction.ssim": 0.8}
    assert (tmp_path / "page").read_text() == "<p>page</p>"
