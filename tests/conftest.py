"""Every shape in moso's annotations is checked while the tests run: jaxtyping's hook, with beartype.

MOSO_TYPECHECK=off leaves it out. Processes that tests start are not checked.
"""

import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# No test sends usage figures anywhere.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")


def _check_shapes() -> None:
    from beartype import BeartypeConf, beartype
    from beartype.roar import BeartypeDecorHintException
    from jaxtyping import install_import_hook

    # An int is a float to every reader of a signature.
    typed = beartype(conf=BeartypeConf(is_pep484_tower=True))

    def check(function: Any) -> Any:
        try:
            return typed(function)
        except BeartypeDecorHintException:
            return function  # an interface (Protocol) in the signature: no object can be asked whether it keeps it

    # The hook wants its checker by name.
    module = types.ModuleType("moso_shape_check")
    module.check = check  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    install_import_hook("moso", "moso_shape_check.check")


if os.environ.get("MOSO_TYPECHECK", "on") != "off":
    _check_shapes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here (not root); the limit on a file's size is tested all the same")
    yield folder
    subprocess.run(["umount", folder], check=True)
