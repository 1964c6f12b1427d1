"""Stage I on two workers, processes of torch.distributed, against one with the same batch: 20 steps of the real step.

Batches of 4 (2 and 2) and of 5 (2 and 3), so that shares are equal and not.
"""

import csv
import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from moso.config import to_dict
from tests.step_workers import Run, call, start

STEPS = 20
OBJECTIVE = {
    "decode_pools": 2,
    "decode_frames": 1,
    "preprocessing": {"until_step": 4},
    # motion is in use at the first check: quantisation begins at step 4, by k-means
    "soft_start": {"least": 0.2, "most": 0.9, "motion_gain": -99.0, "check_every": 2, "vectors_per_code": 4},
    "codebook": {"restart_every": 3, "restart_below": 0.5},
    "validation_clips": 2,
}
TRAINING = {
    "steps": STEPS, "batch": 4, "log_every": 1, "validate_every": 10, "checkpoint_every": 10, "gradient_clip": 1.0,
    "schedule": "cosine", "warmup": 0.1, "ema_decay": 0.9, "channels_last": True,
    "optimizer": {"learning_rate": 1e-3},
}  # fmt: skip
ADVERSARIAL = {
    "video": 0.1, "image": 0.05, "from_step": 8, "weight": "adaptive", "channels": 8, "layers": 1,
}  # fmt: skip

CASES = {
    "one codebook": {},
    "separate codebooks, uneven shares, accumulation": {
        "model": {"codebooks": "separate"},
        "training": {"batch": 5, "accumulation": 2},
    },
    "discriminators, uneven shares": {"training": {"batch": 5}, "loss": {"adversarial": ADVERSARIAL}},
    "no soft start, muon": {
        "objective": {"soft_start": {"most": 0.0}},
        "training": {"optimizer": {"name": "muon", "learning_rate": 0.02}},
    },
}


def _section(small, case):
    base = {
        "model": to_dict(dataclasses.replace(small)),
        "training": TRAINING,
        "loss": {"reconstruction": "l1", "ssim": 0.3},
        "objective": OBJECTIVE,
        "seed": 3,
    }
    return {
        name: {**value, **CASES[case].get(name, {})} if isinstance(value, dict) else value
        for name, value in base.items()
    }


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(["one codebook"], id="quick"),
        pytest.param([case for case in CASES if case != "one codebook"], id="more", marks=pytest.mark.slow),
    ],
)
def trained(request, small, frames_folder, tmp_path_factory):
    """Cases, and folder of case -> output folder, of two workers ("pair") and of one ("alone"); to be read only."""
    cases, folder = request.param, tmp_path_factory.mktemp("stage_1")

    def runs(kind):
        return [
            Run(
                "train_vqvae",
                _section(small, case),
                {"frames": str(frames_folder)},
                {"vqvae": str(folder / kind / case)},
                str(folder / kind / "work"),
            )
            for case in cases
        ]

    for code, errors in start(runs("pair"), 2, folder):
        assert code == 0, errors
    for run in runs("alone"):
        call(run)
    return cases, folder


def _curve(folder):
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_workers_follow_one_over_twenty_steps(trained):
    """Every figure of every step, the weights' average and the codebook; entries were restarted meanwhile."""
    cases, folder = trained
    for case in cases:
        pair, alone = (_curve(folder / kind / case) for kind in ("pair", "alone"))
        assert len(pair) == len(alone) == STEPS
        for here, there in zip(pair, alone, strict=True):
            assert {k for k, v in here.items() if v} == {k for k, v in there.items() if v}
            for name, value in there.items():
                if value:
                    expected = pytest.approx(float(value), rel=2e-3, abs=2e-4)
                    assert float(here[name]) == expected, (case, there["step"], name)
        assert any(float(row["codes_dead"] or 0) > 0 for row in alone)
        one, other = (load_file(folder / kind / case / "model.safetensors") for kind in ("pair", "alone"))
        torch.testing.assert_close(one["quantizer.codebook"], other["quantizer.codebook"], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(one["quantizer.use"], other["quantizer.use"], rtol=1e-4, atol=1e-4)


def test_rank_0_alone_has_a_work_folder(trained):
    _, folder = trained
    assert [path.name for path in (folder / "pair" / "work").iterdir()] == ["0"]
