"""Nothing of ours that is loaded can run code: no pickle, in library, steps, pipelines and benchmarks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for part in ("moso", "components", "pipelines", "bench") for p in (ROOT / part).rglob("*.py"))
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def faults(source: str) -> Iterator[str]:
    """Each line that reads, or might read, a pickle."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        for name in names:
            if name.split(".")[0] in PICKLES:
                yield f"line {node.lineno}: imports {name}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called == "torch.load" and given.get("weights_only") != "True":
            yield f"line {node.lineno}: torch.load without weights_only=True"
        if given.get("allow_pickle", "False") != "False" or given.get("weights_only", "True") != "True":
            yield f"line {node.lineno}: {called} may unpickle"
        if called.endswith(("read_pickle", "to_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load")):
            yield f"line {node.lineno}: {called}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_reads_a_pickle(path):
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "yaml.load(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(line):
    assert len(list(faults(line))) >= 1
    assert (
        list(faults("torch.load(path, weights_only=True)\nnp.load(path, allow_pickle=False)\nyaml.safe_load(t)")) == []
    )
