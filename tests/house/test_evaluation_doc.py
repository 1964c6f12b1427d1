"""docs/evaluation.md: each command that it gives runs the protocol of its row, on a preset of that protocol's sizes."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import resolve_all
from moso.evaluation.asked import require_sizes
from moso.evaluation.protocol_file import ProtocolFile, load_protocol, protocol_names
from moso.evaluation.published import published_tables

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "evaluation.md").read_text()
TABLE = TEXT.partition("| paper | protocol | command |")[2].partition("\n\n")[0]
COMMAND = re.compile(r"dvc exp run [^`#\n]+")
# The rows of one protocol and one command: (protocol, command).
ROWS = [
    (re.findall(r"`([^`]+)`", protocol)[0], COMMAND.findall(command)[0])
    for _, protocol, command in (line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.count(" | ") == 2)
    if len(COMMAND.findall(command)) == 1 and len(re.findall(r"`([^`]+)`", protocol)) == 1
]


def asked(command: str) -> ProtocolFile:
    """The protocol that evaluate would be asked for, as DVC lays the command's settings over params.yaml."""
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    for setting in re.findall(r"-S (\S+)", " ".join(shlex.split(command))):
        name, _, value = setting.lstrip("+").partition("=")
        *path, last = name.split(".")
        at = params
        for part in path:
            at = at.setdefault(part, {})
        at[last] = str(value) if name in ("preset", "dataset") else yaml.safe_load(value)
    configs = resolve_all(params, ROOT / "data" / "specs")
    model = configs["train_vqvae"].model
    sizes = {
        "given_frames": configs["extract_tokens"].given_frames,
        "clip_frames": model.frames,
        "height": model.height,
        "width": model.width,
    }
    found: ProtocolFile = configs["evaluate"].asked(**sizes)
    require_sizes(found, **sizes)
    return found


def test_every_protocol_of_the_papers_data_sets_has_a_row_with_its_command() -> None:
    """Prediction, generation, reconstruction and interpolation."""
    assert {protocol for protocol, _ in ROWS} >= {name for name in protocol_names() if not name.startswith("sim_push/")}


@pytest.mark.parametrize(("protocol", "command"), ROWS)
def test_a_row_s_command_measures_by_its_protocol(protocol: str, command: str) -> None:
    assert asked(command).digest == load_protocol(protocol).digest


@pytest.mark.parametrize("command", sorted(set(COMMAND.findall(TEXT))))
def test_every_command_resolves(command: str) -> None:
    assert asked(command).name in protocol_names()


@pytest.mark.parametrize("name", protocol_names())
def test_every_protocol_is_that_of_a_preset_s_sizes(name: str) -> None:
    """Where no preset names it, `-S +evaluate.protocol=<name>` runs it on one of its data set's presets."""
    dataset = name.partition("/")[0]
    wrong = []
    for preset in sorted(path.stem for path in (ROOT / "moso" / "presets" / dataset).glob("*.yaml")):
        try:
            found = asked(f"dvc exp run -S dataset={dataset} -S preset={preset} -S +evaluate.protocol={name}")
        except Exception as error:
            wrong.append(f"{preset}: {error}")
            continue
        assert found == load_protocol(name)
        return
    pytest.fail("; ".join(wrong))


def test_every_published_table_has_a_protocol_in_the_text_or_says_how_ours_is_made() -> None:
    for table in published_tables().values():
        assert (f"`{table.protocol}`" in TEXT) or table.notes, table.title
