"""Encoder and decoder as torch.export writes them, against the model they came from."""

import json

import pytest
import torch

from moso.errors import MismatchError
from moso.tasks.checks import InputError
from moso.tasks.export import DECODER, ENCODER, FACTS, check, export
from moso.tasks.model import Model
from tests.small_model import write_model


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Model:
    return Model.load(write_model(tmp_path_factory.mktemp("one") / "model", 1), "cpu")


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return folder, export(small, folder, clips=2)


def test_what_was_exported_gives_the_models_tokens_and_frames(small, exported):
    folder, written = exported
    video = torch.rand((2, 4, 3, 16, 16), generator=torch.Generator().manual_seed(9))
    tokens = torch.export.load(folder / ENCODER).module()(video)
    wanted = small.vqvae.encode(video)
    assert all(
        torch.equal(found, getattr(wanted, n)) for n, found in zip(("scene", "object", "motion"), tokens, strict=True)
    )
    drawn = torch.export.load(folder / DECODER).module()(*tokens)
    torch.testing.assert_close(drawn, small.vqvae.decode(wanted), atol=1e-5, rtol=0)
    assert written.difference <= 1e-5


def test_the_facts_name_the_model_and_its_sizes(small, exported):
    facts = json.loads((exported[0] / FACTS).read_text())
    assert (facts["model_digest"], facts["frames"], facts["height"], facts["clips"]) == (small.digest, 4, 16, 2)


def test_files_of_another_model_do_not_pass(exported, tmp_path):
    other = Model.load(write_model(tmp_path / "model", 2), "cpu")
    with pytest.raises(MismatchError, match="gives other scene tokens than the model"):
        check(other, exported[0], 2)


def test_no_clips_are_refused(small, tmp_path):
    with pytest.raises(InputError, match="clips: expected a whole number from 1, got 0"):
        export(small, tmp_path, clips=0)
