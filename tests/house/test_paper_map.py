"""docs/paper-to-code.md tells the truth: what it names exists where it says, and nothing of the paper is missing."""

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
MAP = ROOT / "docs" / "paper-to-code.md"
LINK = re.compile(r"\[`([^`]+)`\]\(\.\./([^)]+)\)")
SETTINGS_OF_C1 = (
    "clip frames T",
    "scene factor",
    "object factor",
    "motion factor",
    "working pools T'",
    "conditioning frames K",
    "VQVAE batch",
    "VQVAE steps",
    "learning rate",
    "scheduler",
    "discriminator from",
    "Transformer batch",
    "Transformer steps",
    "SO/G blocks",
    "M blocks",
    "dropout",
    "attention heads",
    "embedding dim.",
    "hidden dim.",
    "immediate dim.",
)
REQUIRED = [
    *(f"Eq. {number}" for number in range(1, 14)),
    "Algorithm 1",
    *(f"Table C.1, {row}" for row in SETTINGS_OF_C1),
    *(f"Table {number}" for number in (6, 7, 9, 10, 11)),
    *(f"Sec. 3.1.{number}" for number in range(1, 5)),
    "Sec. 3.2",
    "Sec. 3.2.1",
    "Sec. 4",
    "Sec. 4.2",
    "Sec. C.2",
    "Sec. C.3",
    "Sec. C.4",
    "Sec. C.5",
    "Appendix A",
    "Appendix B",
]


class Row(NamedTuple):
    item: str
    code: tuple[tuple[str, str], ...]
    tests: tuple[tuple[str, str], ...]


def rows() -> list[Row]:
    """The rows of all tables that name code and tests; "Not here yet" has neither."""
    found = []
    for line in MAP.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if len(cells) == 4 and cells[0] != "Paper" and not cells[0].startswith("---"):
            found.append(Row(cells[0], tuple(LINK.findall(cells[2])), tuple(LINK.findall(cells[3]))))
    return found


ROWS = rows()


def owner(name: str) -> tuple[Any, Any]:
    """(module, object) of a dotted name; the object is None where it is a field of a dataclass or an annotation."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError as error:
            if not ".".join(parts[:count]).startswith(str(error.name)):
                raise
            continue
        thing: Any = module
        for part in parts[count:]:
            declared = dataclasses.is_dataclass(thing) and part in {f.name for f in dataclasses.fields(thing)}
            declared = declared or part in getattr(thing, "_fields", ())  # of a NamedTuple
            if declared or (inspect.isclass(thing) and part in thing.__annotations__ and not hasattr(thing, part)):
                return module, None
            thing = getattr(thing, part)
        return module, thing
    raise ModuleNotFoundError(name)


@cache
def defined_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_the_map_is_read() -> None:
    assert len(ROWS) > 40
    assert len({row.item for row in ROWS}) == len(ROWS), "an item stands twice"


@pytest.mark.parametrize("item", REQUIRED)
def test_every_equation_algorithm_and_setting_of_the_paper_has_a_row(item: str) -> None:
    assert any(row.item == item or row.item.startswith(f"{item}, ") for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.item)
def test_a_row_s_code_exists_in_the_file_that_it_links_to(row: Row) -> None:
    assert row.code, "names no code"
    for name, path in row.code:
        if path.endswith(".py"):
            module, thing = owner(name)
            home = getattr(thing, "__module__", None) or module.__name__  # of a function that is merely imported there
            assert Path(str(sys.modules[home].__file__)).resolve() == ROOT / path, f"{name} is defined elsewhere"
        else:
            assert (ROOT / path).is_file(), f"{path} does not exist"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.item)
def test_a_row_s_tests_exist_in_the_file_that_it_links_to(row: Row) -> None:
    assert row.tests, "names no test"
    for name, path in row.tests:
        assert path.startswith("tests/")
        assert name.startswith("test_")
        assert name in defined_in(path), f"{path} has no {name}"


def test_a_name_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(AttributeError):
        owner("moso.vqvae.decompose.decomposition")
    with pytest.raises(AttributeError):
        owner("moso.vqvae.nowhere.thing")
    with pytest.raises(ModuleNotFoundError):
        owner("nowhere.thing")
