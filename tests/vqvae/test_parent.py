"""Fine-tuning Stage I: the parent's weights and codebook, kept through the start of the training."""

import dataclasses

import pytest
from safetensors.torch import load_file

import components.train_vqvae.step as train
from moso.errors import MismatchError
from moso.provenance import read_provenance
from moso.step import Context
from moso.training.config import TrainingConfig
from moso.training.optimizer import OptimizerConfig
from moso.vqvae.losses import LossConfig
from moso.vqvae.objective_config import ObjectiveConfig, PreprocessingConfig, SoftStartConfig


@pytest.fixture(scope="module")
def config(small):
    return train.Config(
        model=small,
        training=TrainingConfig(steps=2, batch=2, log_every=1, validate_every=0, checkpoint_every=1),
        loss=LossConfig("l1"),
        objective=ObjectiveConfig(
            preprocessing=PreprocessingConfig(until_step=1),
            soft_start=SoftStartConfig(most=0.5, motion_gain=99.0, vectors_per_code=4, iterations=2),
        ),
    )


def _run(config, frames, folder, parent=None):
    inputs = {"frames": frames, **({"parent": parent} if parent else {})}
    train.run(config, inputs, {"vqvae": folder}, Context(folder.parent / "work", device="cpu"))
    return folder


@pytest.fixture(scope="module")
def parent(config, frames_folder, tmp_path_factory):
    return _run(config, frames_folder, tmp_path_factory.mktemp("parent") / "vqvae")


def test_the_training_starts_from_the_parent_and_files_it(config, parent, frames_folder, tmp_path):
    """With steps too small to see, the child's encoders and decoder are the parent's."""
    still = dataclasses.replace(
        config.training, steps=1, optimizer=OptimizerConfig(learning_rate=1e-9, weight_decay=0.0)
    )
    child = _run(dataclasses.replace(config, training=still, seed=9), frames_folder, tmp_path / "vqvae", parent)
    ours, theirs = load_file(child / "model.safetensors"), load_file(parent / "model.safetensors")
    networks = [name for name in theirs if name.startswith(("encoder", "decoder"))]
    assert networks
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in networks) < 1e-6
    assert read_provenance(child)["inputs"]["parent"] == read_provenance(parent)["digest"]


def test_a_child_has_no_soft_start_that_would_replace_the_codebook(config):
    objective = train.without_a_start(config.objective)
    assert (objective.soft_start.most, objective.preprocessing.until_step) == (0, 0)
    assert (
        dataclasses.replace(
            objective, soft_start=config.objective.soft_start, preprocessing=config.objective.preprocessing
        )
        == config.objective
    )


def test_another_network_is_refused_by_the_setting_s_name(config, parent, frames_folder, tmp_path):
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, codebook_size=32))
    with pytest.raises(MismatchError, match="codebook_size = 32, the parent's is 24"):
        _run(other, frames_folder, tmp_path / "vqvae", parent)
