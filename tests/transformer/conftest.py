"""Fixtures of small transformers and a small token store; tests import the rest as `small_transformers`."""

import importlib.util
import sys
from pathlib import Path

import pytest

# By path: the tests are no package (importmode=importlib).
_spec = importlib.util.spec_from_file_location("small_transformers", Path(__file__).parent / "small.py")
small = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = small
_spec.loader.exec_module(small)


@pytest.fixture(params=small.FORMS)
def model(request):
    """A transformer in each form."""
    return small.FORMS[request.param]()


@pytest.fixture(params=small.TWO)
def two(request):
    """A transformer of the paper's wiring, in each form."""
    return small.FORMS[request.param]()


@pytest.fixture(params=small.ONE)
def one(request):
    """A transformer of one network, in each form."""
    return small.FORMS[request.param]()


@pytest.fixture
def store(tmp_path):
    """A token store of four training and three validation clips."""
    return small.write_store(tmp_path / "tokens")
