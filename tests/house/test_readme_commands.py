"""The README's lines of `moso` name commands and options that there are."""

import re
import shlex
from pathlib import Path

import click
import pytest

from moso.cli import command
from moso.tasks.request import TASKS

LINES = re.findall(r"^    (moso .+)$", (Path(__file__).parents[2] / "README.md").read_text(), re.MULTILINE)


def test_every_task_is_shown() -> None:
    shown = {line.split()[1] for line in LINES}
    assert set(TASKS) - {"preprocess"} <= shown  # it is `moso decompose --thresholds`


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_parsed_by_the_command_that_it_names(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.safetensors").touch()  # what the line before wrote
    _, name, *arguments = shlex.split(line, comments=True)
    context = click.Context(command)
    found = command.get_command(context, name)
    assert found is not None
    found.make_context(name, arguments, parent=context, resilient_parsing=False)
