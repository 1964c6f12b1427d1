"""Small models of the real kinds (tests/small_model.py), loaded, and clips for them."""

import pytest

from moso.tasks import Model
from tests.small_model import smooth_clips, write_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("small") / "model", seed=0)


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory):
    """A model of another codebook."""
    return write_model(tmp_path_factory.mktemp("small") / "other", seed=1)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Makes and loads a model with settings of its own: made("name", given=0, …); the same name is made once."""
    folders = {}

    def make(name, **settings):
        if name not in folders:
            folders[name] = write_model(tmp_path_factory.mktemp("made") / name, seed=2, **settings)
        return Model.load(folders[name], "cpu")

    return make


@pytest.fixture
def model(model_folder):
    return Model.load(model_folder, "cpu")


@pytest.fixture
def clips():
    """Five whole clips: smooth pictures that change from frame to frame."""
    return smooth_clips(5)
