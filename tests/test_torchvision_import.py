"""torchvision beside a CPU-only torch, and a core that needs neither it nor lpips."""

import subprocess
import sys

import pytest

from moso.errors import MosoError
from moso.torchvision_import import import_with_torchvision


def _python(code):
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)


def test_lpips_can_be_imported_whatever_torch_it_is():
    found = _python(
        "from moso.torchvision_import import import_with_torchvision as load\n"
        "print(load('lpips').__name__, load('torchvision').__name__, load('lpips').LPIPS.__name__)"
    )
    assert found.stdout.split() == ["lpips", "torchvision", "LPIPS"]


def test_the_core_imports_neither_lpips_nor_torchvision():
    code = (
        "import sys\n"
        "import components.train_vqvae.step, moso.vqvae.perceptual, moso.tasks.model\n"
        "print(sorted({'lpips', 'torchvision', 'torchmetrics'} & sys.modules.keys()))"
    )
    assert _python(code).stdout.strip() == "[]"


def test_a_package_that_is_missing_is_named_with_its_extra():
    with pytest.raises(MosoError, match=r"no_such_metrics is not installed; it comes with `pip install moso\[eval\]`"):
        import_with_torchvision("no_such_metrics")
