"""Stage I in parts of a batch: gradients, codebook and discriminators are those of the whole batch, up to rounding."""

import pytest
import torch

from moso.errors import ConfigError
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, windows
from moso.training.config import TrainingConfig
from moso.training.sampler import samples
from moso.training.world import Solo
from moso.vqvae.discriminators import AdversarialConfig
from moso.vqvae.losses import LossConfig
from moso.vqvae.objective import VQVAEObjective
from moso.vqvae.objective_config import ObjectiveConfig, PreprocessingConfig

SOLO, BATCH = Solo(), 5


@pytest.fixture
def make(build, frames_folder):
    def make(accumulation=1, **adversarial):
        cache = FrameCache.open(frames_folder)
        settings = {"video": 0.1, "image": 0.1, "from_step": 0, "channels": 8, "layers": 1, **adversarial}
        return VQVAEObjective(
            build().train(),
            ObjectiveConfig(decode_pools=2, preprocessing=PreprocessingConfig(until_step=0)),
            LossConfig("l1", ssim=0.3, adversarial=AdversarialConfig(**settings)),
            TrainingConfig(steps=20, batch=BATCH, accumulation=accumulation),
            training_clips=Clips(cache, windows(cache, "train", 6), 6),
            validation_clips=None,
            seed=0,
        )

    return make


def _turns(objective, count):
    """Gradients, figures and codebook of one step that takes its batch in `count` parts."""
    objective.quantised_from = 0
    objective.before_step(0, SOLO)
    dealt = samples(0, objective.size, 0, BATCH, SOLO)
    parts = objective.parts(objective.prepare(dealt), dealt, count)
    assert len(parts) == count
    figures = {}

    def add(loss, extra, of):
        share = len(of) / BATCH
        (loss * share).backward()
        for name, value in extra.items():
            figures[name] = figures.get(name, 0.0) + float(value) * share

    for batch, of in parts:
        add(*objective.loss(batch, of, 0), of)
    for rival in objective.rivals:
        for _, of in parts:
            loss, extra = rival.loss(0)
            add(loss, {f"{rival.name}_{name}": value for name, value in extra.items()}, of)
    modules = objective.module, *(rival.module for rival in objective.rivals)
    gradients = [p.grad for module in modules for p in module.parameters()]
    outputs = objective._outputs
    figures |= objective.after_step(0, SOLO)
    return gradients, figures, objective.model.quantizer.state_dict(), outputs


@pytest.mark.parametrize("count", [2, 5])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(make, count):
    gradients, figures, codebook, outputs = _turns(make(), 1)
    theirs, their_figures, their_codebook, their_outputs = _turns(make(count), count)
    for mine, other in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(other, mine, rtol=1e-3, atol=1e-6)
    assert their_figures == pytest.approx(figures, rel=1e-4, abs=1e-6)
    for name, value in codebook.items():
        torch.testing.assert_close(their_codebook[name], value, msg=name)
    for mine, other in zip(outputs, their_outputs, strict=True):  # what restarts of dead entries draw from
        torch.testing.assert_close(other, mine)


def test_what_one_step_left_behind_is_not_the_next_ones(make):
    objective = make(2)
    _turns(objective, 2)
    objective.before_step(1, SOLO)
    dealt = samples(0, objective.size, BATCH, BATCH, SOLO)
    objective.loss(objective.prepare(dealt), dealt, 1)  # no rival's turn: the step was given up
    objective.before_step(2, SOLO)
    assert objective._outputs is None
    with pytest.raises(AssertionError, match="comes first"):
        objective.rivals[0].loss(2)


def test_an_adaptive_weight_which_needs_the_whole_batch_refuses_parts(make):
    with pytest.raises(ConfigError, match=r"accumulation.*adaptive"):
        make(2, weight="adaptive")
    make(1, weight="adaptive")
    make(2, weight="adaptive", video=0.0, image=0.0)
