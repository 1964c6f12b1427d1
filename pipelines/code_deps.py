"""The code dependencies of dvc.yaml's stages, made from the import graph.

A stage must run again when code that it uses changed, and only then. `components/<step>/step.py` and everything it
imports, directly or not, is that code; grimp (the graph behind import-linter) knows it. This module writes the list
into dvc.yaml and ablations/dvc.yaml, below the line `# code:` of each stage, and checks that it is still true.

    python -m pipelines.code_deps --check | --write
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

from components.config import STEPS

ROOT = Path(__file__).parent.parent
PACKAGES = ("moso", "components", "pipelines")
MARK = "# code: "
# The stages that run code of a step, by file; the ablations' own step is a module here.
FILES = {
    "dvc.yaml": STEPS,
    "ablations/dvc.yaml": ("train_vqvae", "reconstruct", "extract_tokens", "train_transformer", "evaluate"),
}
ELSEWHERE = {"reconstruct": "pipelines.reconstruction"}
# What a module reaches without an import that the graph could see: readers are chosen by their format's name, and the
# registered model's code is a file that MLflow is given. "*": every module of the package.
UNSEEN = {"moso.datasets.readers": ("*",), "moso.adapters.mlflow_model": ("moso.serving.pyfunc",)}


def graph() -> grimp.ImportGraph:
    """The import graph of moso, components and pipelines; imports that only type checkers see do not count."""
    return grimp.build_graph(
        *PACKAGES, include_external_packages=False, exclude_type_checking_imports=True, cache_dir=None
    )


def closure(imports: grimp.ImportGraph, module: str) -> set[str]:
    """`module` and all modules that are executed when it is imported, itself and indirectly.

    Importing a.b.c also executes a and a.b, which the graph has no edges for.
    """
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        pending += imports.find_modules_directly_imported_by(name)
        for other in UNSEEN.get(name, ()):
            pending += imports.find_children(name) if other == "*" else [other]
        if "." in name:
            pending.append(name.rpartition(".")[0])
    return found


def source(module: str, root: Path = ROOT) -> Path | None:
    """A module's file relative to the root; None for a folder without `__init__.py`."""
    path = Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if (root / candidate).is_file():
            return candidate
    return None


def folded(files: Iterable[Path], root: Path = ROOT) -> list[str]:
    """`files` as dependencies: a folder in place of its files where all its Python files are among them.

    The package's own top folder is never folded: a new subpackage would then become a dependency of everything.
    """
    files = set(files)
    folders = {parent for file in files for parent in file.parents if len(parent.parts) > 1}
    whole = {
        folder for folder in folders if _python_files(root, folder) <= files and len(_python_files(root, folder)) > 1
    }
    kept = {folder for folder in whole if not any(parent in whole for parent in folder.parents)}
    loose = {file for file in files if not any(parent in kept for parent in file.parents)}
    return sorted(path.as_posix() for path in kept | loose)


def code_deps(step: str, imports: grimp.ImportGraph | None = None, root: Path = ROOT) -> list[str]:
    """The paths that the stage `step` depends on, relative to the repository's root, sorted."""
    modules = closure(imports or graph(), ELSEWHERE.get(step, f"components.{step}.step"))
    return folded((path for path in (source(module, root) for module in modules) if path), root)


def rewritten(text: str, deps: Mapping[str, list[str]]) -> str:
    """The text of a dvc.yaml with the lists below `# code:` replaced.

    Raises:
        ValueError: a stage has no `# code:` line.
    """
    lines: list[str] = []
    stage, below, missing = "", "", set(deps)
    for line in text.splitlines():
        if line.startswith("  ") and line[2:3].isalpha() and line.rstrip().endswith(":"):
            stage = line.strip().rstrip(":")
        if below and line.startswith(below):
            continue
        below = ""
        lines.append(line)
        if line.lstrip().startswith(MARK) and stage in deps:
            below = f"{line[: line.index(MARK)]}- "
            lines += [f"{below}{path}" for path in deps[stage]]
            missing.discard(stage)
    if missing:
        raise ValueError(f"dvc.yaml: no `{MARK.strip()}` line in {', '.join(sorted(missing))}")
    return "\n".join(lines) + "\n"


def _python_files(root: Path, folder: Path) -> set[Path]:
    return {path.relative_to(root) for path in (root / folder).rglob("*.py")}


def main() -> None:
    """Check or write the code dependencies; exit status 1 where a check finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.code_deps", description=main.__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--check", action="store_true", help="exit with 1 where dvc.yaml is not up to date")
    choice.add_argument("--write", action="store_true", help="bring dvc.yaml up to date")
    parsed = parser.parse_args()
    imports, stale = graph(), []
    for name, stages in FILES.items():
        path = ROOT / name
        before = path.read_text()
        after = rewritten(before, {stage: code_deps(stage, imports) for stage in stages})
        if after != before:
            stale.append(name)
            if parsed.write:
                path.write_text(after)
    if parsed.check and stale:
        sys.exit(f"{', '.join(stale)}: code dependencies are out of date; run `make code-deps`")


if __name__ == "__main__":
    main()
