"""Fine-tuning Stage II: the parent's weights, or a refusal that names what does not fit."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_transformers import SMALL

from components.train_transformer.step import Config, build_model, fine_tune_, run
from moso.config import build
from moso.errors import FormatError, MismatchError
from moso.provenance import read_provenance
from moso.step import Context
from moso.tokens.store import TokenStore, codebook_digest

SECTION = {
    "model": {**SMALL, "dropout": 0.1},
    "training": {"steps": 3, "batch": 2, "validate_every": 3, "log_every": 1},
    "validation_clips": 2,
}


def _run(tokens: Path, folder: Path, parent: Path | None = None, **settings):
    inputs = {"tokens": tokens, **({"parent": parent} if parent else {})}
    config = build(Config, {**SECTION, **settings})
    run(config, inputs, {"transformer": folder}, Context(work=folder.parent / "work", device="cpu"))
    return folder


@pytest.fixture
def parent(store, tmp_path):
    return _run(store.folder, tmp_path / "parent")


def _started(store: TokenStore, parent: Path, **settings):
    model = build_model(build(Config, {**SECTION, "seed": 5, **settings}), store)
    fine_tune_(model, parent)
    return model


def test_every_weight_at_step_0_is_the_parent_s(store, parent):
    state, theirs = _started(store, parent).state_dict(), load_file(parent / "model.safetensors")
    assert state.keys() == theirs.keys()
    assert all(torch.equal(state[name], theirs[name]) for name in theirs)


def test_the_training_goes_on_from_there_and_files_the_parent(store, parent, tmp_path):
    """With steps too small to see, the result is the parent; the same call without it ends elsewhere."""
    training = {**SECTION["training"], "steps": 1, "optimizer": {"learning_rate": 1e-9, "weight_decay": 0.0}}
    child = _run(store.folder, tmp_path / "child", parent, training=training, seed=5)
    alone = _run(store.folder, tmp_path / "alone", training=training, seed=5)
    theirs = load_file(parent / "model.safetensors")
    far = {}
    for folder in (child, alone):
        ours = load_file(folder / "model.safetensors")
        far[folder.name] = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    assert far["child"] < 1e-6 < 0.01 < far["alone"]
    digests = {name: read_provenance(tmp_path / name)["digest"] for name in ("tokens", "parent")}
    assert read_provenance(child)["inputs"] == digests
    assert read_provenance(alone)["inputs"] == {"tokens": digests["tokens"]}


def test_another_network_is_refused_by_the_setting_s_name(store, parent):
    with pytest.raises(MismatchError, match=r"model\.motion_blocks = 1, the parent's is 2") as refused:
        _started(store, parent, model={**SECTION["model"], "motion_blocks": 1})
    assert str(parent) in str(refused.value)
    assert "model.hidden" not in str(refused.value)


def test_dropout_may_differ(store, parent):
    _started(store, parent, model={**SECTION["model"], "dropout": 0.0})


def test_tokens_of_another_codebook_are_refused(store, parent):
    codes = store.codebook + 1
    settings = dataclasses.replace(store.settings, codebook_digest=codebook_digest(codes))
    foreign = TokenStore(store.folder, settings, codes, store.table)
    with pytest.raises(MismatchError, match="codebook_digest"):
        _started(foreign, parent)


def test_a_folder_that_no_training_wrote_is_no_parent(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match=r"no provenance\.json"):
        _run(store.folder, tmp_path / "child", tmp_path / "empty")
