"""docs/deviations.md: every setting it names exists and changes something, and the embedded preset hides nothing."""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import resolve
from moso.config import merge, to_dict
from moso.tasks.model import Model

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "deviations.md").read_text()
PAPER, EMBEDDED = TEXT.split("## The embedded preset\n")
SETTING = re.compile(r"`((?:train_vqvae|extract_tokens|train_transformer)\.[\w.]+): ([^`]+)`")
OPTION = re.compile(r"`Model\.(\w+)\((\w+)=([^`]+)\)`")
STEPS = ("train_vqvae", "extract_tokens", "train_transformer")


def entries() -> dict[str, dict[str, str]]:
    """title -> {"Paper": …, "Released code": …, "Here": …, "The other": …}."""
    found = {}
    for part in PAPER.split("\n### ")[1:]:
        title, _, body = part.partition("\n")
        body = body.split("\n## ")[0]
        items = re.findall(r"^- ([\w ]+): (.*?)(?=^- |\Z)", body, re.MULTILINE | re.DOTALL)
        found[title] = {name: " ".join(text.split()) for name, text in items}
    return found


ENTRIES = entries()


def configs(preset: str, **overrides: Any) -> dict[str, Any]:
    dataset, _, name = preset.partition("/")
    params = {"dataset": dataset, "preset": name, "seed": 0, **overrides}
    schemas = {step: importlib.import_module(f"components.{step}.step").Config for step in STEPS}
    return {step: resolve(step, schema, params, ROOT / "data" / "specs") for step, schema in schemas.items()}


def nested(settings: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, value in settings:
        tree: Any = yaml.safe_load(value)
        for name in reversed(path.split(".")):
            tree = {name: tree}
        found = merge(found, tree)
    return found


def leaves(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix.rstrip("."): values}
    return {key: leaf for name, value in values.items() for key, leaf in leaves(value, f"{prefix}{name}.").items()}


def test_the_file_is_read() -> None:
    assert len(ENTRIES) >= 30


@pytest.mark.parametrize("title", ENTRIES)
def test_an_entry_says_what_the_paper_has_what_is_done_here_and_how_to_get_the_other(title: str) -> None:
    entry = ENTRIES[title]
    assert {"Paper", "Here", "The other"} <= set(entry) <= {"Paper", "Released code", "Here", "The other"}
    other = entry["The other"]
    assert SETTING.search(other) or OPTION.search(other) or "not offered, because " in other


# Of a preset that has another value there; the rest are tried on KTH's.
ON = {
    "Clips of UCF101 prediction": "ucf101/default",
    "Working pools and given motion tokens of BAIR": "bair/default",
    "Negative SSIM and the discriminator on KTH 128": "kth/128",
    "Codebook size of the ablations": "kth/default",
}


@pytest.mark.parametrize("title", [title for title, entry in ENTRIES.items() if SETTING.search(entry["The other"])])
def test_each_setting_exists_takes_the_value_and_changes_the_config(title: str) -> None:
    settings = SETTING.findall(ENTRIES[title]["The other"])
    preset = ON.get(title, "kth/default")
    plain = leaves(to_dict(configs(preset)))
    changed = leaves(to_dict(configs(preset, **nested(settings))))
    assert {path for path in plain if changed[path] != plain[path]} == {path for path, _ in settings}


@pytest.mark.parametrize("title", [title for title, entry in ENTRIES.items() if OPTION.search(entry["The other"])])
def test_each_option_of_a_task_exists_and_is_not_the_default(title: str) -> None:
    for method, name, value in OPTION.findall(ENTRIES[title]["The other"]):
        parameters = inspect.signature(getattr(Model, method)).parameters
        assert name in parameters
        assert parameters[name].default != ast.literal_eval(value)


@pytest.mark.parametrize("title", [title for title, entry in ENTRIES.items() if "test_" in str(entry)])
def test_the_tests_that_an_entry_names_exist(title: str) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", str(ENTRIES[title])):
        assert f"def {name}(" in sources, name


def test_the_embedded_preset_s_table_is_all_that_differs_from_the_paper_s_preset_of_its_size() -> None:
    paper, embedded = (leaves(to_dict(configs(preset))) for preset in ("robonet/default", "sim_push/default"))
    differing = {path: (paper[path], embedded[path]) for path in paper if paper[path] != embedded[path]}
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \| `([^`]+)` \| (.+) \|$", EMBEDDED, re.MULTILINE)
    assert {path: (json.loads(a), json.loads(b)) for path, a, b, _ in rows} == differing
    assert all(reason.strip() for *_, reason in rows)
