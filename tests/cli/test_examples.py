"""`--help` teaches by example, and its examples work."""

import re
import shlex

import pytest
from click.testing import CliRunner

from moso import pretrained
from moso.cli import command

TASKS = (
    "predict", "rollout", "generate", "interpolate", "recombine", "decompose", "reconstruct", "encode", "decode",
)  # fmt: skip


def examples(*names: str) -> list[str]:
    text = CliRunner().invoke(command, [*names, "--help"], terminal_width=80).output
    _, heading, below = text.partition("Examples:\n")
    assert heading, text
    return [line.strip() for line in below.splitlines() if line.strip()]


FETCH = "moso weights fetch"
WEIGHTS = dict.fromkeys(line for names in ([], ["list"], ["fetch"]) for line in examples("weights", *names))
LINES = [*(line for name in (*TASKS, "info") for line in examples(name)), *WEIGHTS]
# What downloads is not run: tests need no network.
RUN = [line for line in LINES if not line.startswith(FETCH)]
FETCHED = [line for line in LINES if line.startswith(FETCH)]


def test_every_task_has_examples_and_the_parser_finds_whole_lines() -> None:
    for name in TASKS:
        assert len(examples(name)) >= 2
    for line in LINES:
        assert re.match(r"moso \w+", line), line


@pytest.mark.parametrize("line", FETCHED)
def test_an_example_that_fetches_names_files_that_there_are(line: str) -> None:
    assert set(line.removeprefix(FETCH).split()) <= set(pretrained.FILES)


@pytest.mark.parametrize("line", RUN)
def test_the_example_works(moso, project, line: str) -> None:
    _, *arguments = shlex.split(line)
    if arguments[0] == "decode":
        assert moso("encode", "models/sim_push", "seed_200001", "--output", "clip.safetensors").code == 0
    before = {path for path in project.rglob("*") if path.is_file()}
    done = moso(*arguments)
    assert done.code == 0, done
    if "--output" in arguments:
        stem = arguments[arguments.index("--output") + 1].partition("{")[0].partition(".")[0]
        written = {path for path in project.rglob("*") if path.is_file()} - before
        assert written
        assert all(path.relative_to(project).as_posix().startswith(stem) for path in written)
        assert not any(path.name.startswith(".") for path in written)


def test_the_line_of_the_readme_works(moso, project) -> None:
    done = moso("predict", "models/sim_push", "reports/example.npy", "--output", "prediction.gif")
    assert done.code == 0
    assert (project / "prediction.gif").stat().st_size
    assert done.out == "prediction.gif: 4 frames of 1 clip\n"
