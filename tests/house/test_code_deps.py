"""A stage reruns when code that it uses changed, and only then: dvc.yaml's code dependencies are the import graph's."""

import re
from pathlib import Path

import grimp
import pytest
import yaml

from components.config import STEPS
from pipelines import code_deps

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return code_deps.graph()


def is_code(path: str) -> bool:
    return path.endswith(".py") or any((ROOT / path).rglob("*.py"))


def expanded(paths: list[str]) -> set[str]:
    files = set()
    for path in paths:
        found = (ROOT / path).rglob("*.py") if (ROOT / path).is_dir() else [ROOT / path]
        files |= {file.relative_to(ROOT).as_posix() for file in found}
    return files


@pytest.mark.parametrize("step", STEPS)
def test_code_dependencies_of_a_stage_are_exactly_what_its_step_imports(step: str, imports: grimp.ImportGraph) -> None:
    named = [path for path in STAGES[step]["deps"] if path.startswith(("moso", "components")) and is_code(path)]
    assert named == code_deps.code_deps(step, imports), "run `make code-deps`"
    direct = imports.find_upstream_modules(f"components.{step}.step") | {f"components.{step}.step"}
    files = {path.as_posix() for path in map(code_deps.source, direct) if path}
    assert files <= expanded(named)
    for extra in expanded(named) - files:
        # Beyond the graph's own closure: packages' __init__.py and what they import, and what no import names.
        assert extra.endswith("__init__.py") or extra.startswith(("moso/datasets/", "moso/serving/")), extra


@pytest.mark.parametrize("step", STEPS)
def test_no_stage_depends_on_another_step_or_on_kubeflow(step: str) -> None:
    own = (f"components/{step}", *(f"components/{name}.py" for name in ("__init__", "main", "config", "raw")))
    for path in STAGES[step]["deps"]:
        if path.startswith("components"):
            assert path.startswith(own), path
            assert not path.endswith("component.py")


def test_modules_imported_by_name_are_known() -> None:
    """The graph cannot see import_module of a computed name: each such place must be in UNSEEN, or load a step."""
    found = set()
    for path in [*(ROOT / "moso").rglob("*.py"), *(ROOT / "components").rglob("*.py")]:
        if re.search(r"import_module\((f|MODULE)|__import__\(", path.read_text()):
            found.add(path.relative_to(ROOT).as_posix())
    # These load steps by name on purpose: see the comments there.
    known = {path.as_posix() for path in map(code_deps.source, code_deps.UNSEEN) if path}
    assert found - known == {"components/main.py", "components/config.py", "components/on_ray.py"}


def test_the_closure_counts_packages_above_a_module_and_stops_at_what_nothing_imports(tmp_path: Path) -> None:
    files = {
        "moso/__init__.py": "",
        "moso/a/__init__.py": "from moso import shared",
        "moso/a/used.py": "",
        "moso/a/unused.py": "from moso import other",
        "moso/shared.py": "",
        "moso/other.py": "",
        "components/__init__.py": "",
        "components/s/__init__.py": "",
        "components/s/step.py": "def run():\n    from moso.a import used",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    graph = grimp.ImportGraph()
    for name in files:
        graph.add_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    graph.add_import(importer="components.s.step", imported="moso.a.used")
    graph.add_import(importer="moso.a", imported="moso.shared")
    graph.add_import(importer="moso.a.unused", imported="moso.other")
    assert code_deps.code_deps("s", graph, tmp_path) == [
        "components/__init__.py",
        "components/s",  # whole: both of its files are used
        "moso/__init__.py",
        "moso/a/__init__.py",
        "moso/a/used.py",
        "moso/shared.py",
    ]


def test_rewriting_replaces_the_lists_below_the_marks_and_nothing_else() -> None:
    text = (
        "stages:\n  one:\n    deps:\n      - data\n      # code: made\n      - old.py\n    outs:\n      - x\n"
        "  two:\n    deps:\n      # code: made\n    outs:\n      - y\n"
    )
    after = code_deps.rewritten(text, {"one": ["a.py", "b"], "two": ["c.py"]})
    assert after == (
        "stages:\n  one:\n    deps:\n      - data\n      # code: made\n      - a.py\n      - b\n    outs:\n      - x\n"
        "  two:\n    deps:\n      # code: made\n      - c.py\n    outs:\n      - y\n"
    )
    with pytest.raises(ValueError, match="three"):
        code_deps.rewritten(text, {"three": []})
