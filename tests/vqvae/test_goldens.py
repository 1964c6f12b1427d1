"""One seeded training step of each structure gives the golden loss, and each parameter's gradient its golden mean and
deviation."""

import json
from pathlib import Path

import pytest

from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, windows
from moso.training.config import TrainingConfig
from moso.training.sampler import samples
from moso.training.world import Solo
from moso.vqvae.losses import LossConfig
from moso.vqvae.objective import VQVAEObjective
from moso.vqvae.objective_config import ObjectiveConfig, PreprocessingConfig

GOLDEN = Path(__file__).parent / "golden_gradients.json"


def _step(model, frames_folder):
    """Loss and gradients of the first step on two of the drawn clips, Algorithm 1 included."""
    cache = FrameCache.open(frames_folder)
    objective = VQVAEObjective(
        model.train(),
        ObjectiveConfig(decode_pools=2, preprocessing=PreprocessingConfig(until_step=1)),
        LossConfig("l2", ssim=0.3),
        TrainingConfig(steps=20, batch=2),
        training_clips=Clips(cache, windows(cache, "train", 6), 6),
        validation_clips=None,
        seed=0,
    )
    dealt = samples(0, objective.size, 0, 2, Solo())
    loss, _ = objective.loss(objective.prepare(dealt), dealt, 0)
    loss.backward()
    gradients = {name: [float(p.grad.mean()), float(p.grad.std())] for name, p in model.named_parameters()}
    return {"loss": float(loss.detach()), "gradients": gradients}


def test_a_step_of_each_structure_gives_the_golden_loss_and_gradients(build, frames_folder, variant):
    """To write them anew, with the reason in the commit: delete GOLDEN and run this test twice."""
    name = " ".join(f"{key}={value}" for key, value in variant.items())
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    found = _step(build(**variant), frames_folder)
    if name not in known:
        GOLDEN.write_text(json.dumps({**known, name: found}, indent=1) + "\n")
        pytest.fail(f"wrote {name} into {GOLDEN}; look at it and run again")
    golden = known[name]
    assert found["loss"] == pytest.approx(golden["loss"], rel=1e-4)
    assert found["gradients"].keys() == golden["gradients"].keys()
    for parameter, (mean, deviation) in golden["gradients"].items():
        # rounding of a sum over many places is of the size of its terms, not of the mean
        assert found["gradients"][parameter][0] == pytest.approx(mean, rel=1e-2, abs=1e-2 * deviation + 1e-7), parameter
        assert found["gradients"][parameter][1] == pytest.approx(deviation, rel=1e-2, abs=1e-7), parameter
