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

START
"""
BY_COMMAND_LINE = 'outside.main("promote", Config, run)'
AS_COMPONENT = """
outside.MODULE = "__main__"
outside.call("promote", {"seed": 7}, {"source": "source"}, {"result": "result"})
print("behind the call")
"""


@pytest.fixture
def step(tmp_path: Path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "source").write_text("hello")

    def start(
        *arguments: str, body: str = "pass", by: str = BY_COMMAND_LINE, stdout: int | None = None
    ) -> subprocess.Popen[str]:
        (tmp_path / "step.py").write_text(STEP.replace("BODY", body).replace("START", by))
        environment = {**os.environ, "MOSO_TRACKING": "off"}
        command = [sys.executable, "step.py", *arguments]
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True, stdout=stdout, stderr=subprocess.PIPE
        )

    return start


PATHS = ("--in", "source=source", "--out", "result=result")
both = pytest.mark.parametrize("by", [BY_COMMAND_LINE, AS_COMPONENT], ids=["command line", "component"])


def test_a_step_gets_its_config_its_named_paths_and_a_work_folder_of_its_own(step, tmp_path: Path) -> None:
    process = step(*PATHS)
    assert process.wait() == 0, process.stderr.read()
    result = json.loads((tmp_path / "result").read_text())
    assert result == {"seed": 7, "input": "hello", "work": str(tmp_path / ".work" / "promote")}


@both
def test_a_moso_error_is_one_line_and_exit_status_1(step, by: str) -> None:
    process = step(*PATHS, body='raise DataError("episode 3 is empty")', by=by)
    assert process.wait() == 1
    assert process.stderr.read() == "promote: episode 3 is empty\n"


WRITES = {
    "a file": 'open("/dev/full", "w").write("x" * 99999)',
    "numpy": 'import numpy; numpy.save("DISK/tokens.npy", numpy.zeros(10**6))',
    "arrow": """import numpy, pyarrow, pyarrow.parquet as parquet
    parquet.write_table(pyarrow.table({"a": numpy.random.rand(10**6)}), "DISK/episodes.parquet")""",
    "safetensors": """import torch
    from safetensors.torch import save_file
    save_file({"weight": torch.zeros(10**6)}, "DISK/model.safetensors")""",
}


@both
@pytest.mark.parametrize("writer", WRITES)
def test_a_full_disk_is_one_line_that_says_what_to_do(
    step, request: pytest.FixtureRequest, writer: str, by: str
) -> None:
    """/dev/full answers every write as a full disk does; libraries that write more than bytes are given a small one."""
    body = WRITES[writer]
    if "DISK" in body:
        body = body.replace("DISK", str(request.getfixturevalue("small_disk")))
    process = step(*PATHS, body=body, by=by)
    assert process.wait() == 1
    error = process.stderr.read()
    assert error.count("\n") == 1, error
    assert error.startswith("promote: ")
    assert "make room there and run it again" in error


def test_what_a_component_does_behind_its_call_waits_for_the_step(step) -> None:
    process = step(by=AS_COMPONENT, stdout=subprocess.PIPE)
    assert process.wait() == 0, process.stderr.read()
    assert process.stdout.read() == "behind the call\n"


@both
def test_a_bug_keeps_its_traceback(step, by: str) -> None:
    process = step(*PATHS, body="raise ZeroDivisionError", by=by)
    assert process.wait() == 1
    assert "Traceback" in process.stderr.read()


def test_a_missing_path_is_named_with_the_option_that_gives_it(step) -> None:
    process = step("--out", "result=result")
    assert process.wait() == 1
    message = process.stderr.read()
    assert "--in source" in message
    assert message.count("\n") == 1


@both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_step_to_stop_and_it_ends_as_interrupted(step, tmp_path: Path, number: int, by: str) -> None:
    body = """open("ready", "w").close()
    while not context.stop: time.sleep(0.01)
    raise StopRequested("checkpoint 5 is written")"""
    process = step(*PATHS, body=body, by=by)
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
