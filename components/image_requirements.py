"""What each image installs: the part of requirements.lock that its target needs.

    python -m components.image_requirements --write     writes components/requirements/<target>.txt
    python -m components.image_requirements --check     fails where they are not what --write would write

The lists hold no version of their own. Which packages a target needs follows from pyproject.toml's extras and from what
the installed packages say that they need (`make setup` installed them from the same lock); the lines are the lock's.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from moso.errors import DataError, MosoError

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
FOLDER = Path(__file__).parent / "requirements"
PYTHON = "3.11"
"""Of the base image; the lock has lines for 3.12 and 3.13, too."""
PLACE = {
    "python_version": PYTHON,
    "python_full_version": f"{PYTHON}.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
}
"""What markers are asked for: the image, whatever runs this module."""


@dataclass(frozen=True)
class Need:
    """What one target installs beside moso's own dependencies.

    Attributes:
        extras: of pyproject.toml.
        more: packages that an extra would bring together with much that no step needs.
        without: dependencies that this target's steps never import.
    """

    extras: tuple[str, ...]
    more: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


# boto3 and not the extra s3, which is for DVC's remotes: no container runs DVC. kfp is what Kubeflow starts steps with,
# and mlflow is in train because trainings and evaluations are recorded.
TARGETS: Mapping[str, Need] = {
    "data": Need(("data", "sim", "kfp"), more=("boto3",), without=("torch",)),
    "train": Need(("eval", "video", "ray", "kfp", "mlflow"), more=("boto3",)),
    "serve": Need(("video", "kfp", "mlflow"), more=("boto3",)),
}


def requirements(target: str) -> str:
    """The text of components/requirements/<target>.txt.

    Raises:
        DataError: a package that is needed is not installed, or is not in the lock.
    """
    need = TARGETS[target]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *need.more]
    for extra in need.extras:
        wanted += project["optional-dependencies"][extra]
    names = closure(wanted, without=need.without)
    lines = locked()
    if missing := sorted(names - set(lines)):
        raise DataError(f"{LOCK.name} has no line for {', '.join(missing)}, which the image {target} needs; add them")
    head = f"# written by `python -m components.image_requirements --write`: what {target} needs of requirements.lock\n"
    return head + "".join(f"{lines[name]}\n" for name in sorted(names))


def closure(wanted: Iterable[str], *, without: Iterable[str] = ()) -> set[str]:
    """Names of all packages that `wanted` (requirements, with extras and markers) bring, on Linux with `PYTHON`.

    Raises:
        DataError: one of them is not installed here, so that nobody can say what it needs.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    left_out = {canonicalize_name(name) for name in without}
    seen: set[tuple[str, str]] = set()
    queue = [(Requirement(text), "") for text in wanted]
    while queue:
        requirement, asked_with = queue.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({**PLACE, "extra": asked_with}):
            continue
        if name in left_out:
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                needs = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                raise DataError(f"{name} is not installed, and an image needs it; run make setup") from None
            queue += [(Requirement(text), extra) for text in needs]
    return {str(name) for name, _ in seen}


def locked() -> dict[str, str]:
    """Name -> the lock's line for Linux with `PYTHON`, without its marker."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found = {}
    for line in LOCK.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(PLACE):
                found[str(canonicalize_name(requirement.name))] = text.partition(";")[0].strip()
    return found


def main(arguments: list[str] | None = None) -> int:
    """Command line; 1 where --check finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m components.image_requirements")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write components/requirements/")
    what.add_argument("--check", action="store_true", help="fail where they are out of date")
    parsed = parser.parse_args(arguments)
    try:
        for target in TARGETS:
            path, text = FOLDER / f"{target}.txt", requirements(target)
            if parsed.write:
                FOLDER.mkdir(exist_ok=True)
                path.write_text(text)
            elif not path.exists() or path.read_text() != text:
                raise DataError(f"{path} is out of date: run `python -m components.image_requirements --write`")
    except MosoError as error:
        print(f"image requirements: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
