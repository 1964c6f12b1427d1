"""Stage II on two workers, processes of torch.distributed, against one with the same batch: 20 steps of the real step.

Clips mask different numbers of tokens, and some are trained with nothing given, so the workers' shares of a batch count
different numbers of tokens: the cross-entropies must be means over the whole batch's.
"""

import csv

import pytest
import torch
from safetensors.torch import load_file
from small_transformers import SMALL, write_store

from tests.step_workers import Run, call, start

STEPS = 20
BASE = {
    "model": {**SMALL, "dropout": 0.0},
    "loss": {"guidance_from": "sampled", "unconditional_share": 0.4, "moving_weight": 3.0, "label_smoothing": 0.1},
    "training": {
        "steps": STEPS, "batch": 4, "log_every": 1, "validate_every": 10, "gradient_clip": 1.0, "ema_decay": 0.9,
        "optimizer": {"learning_rate": 1e-3, "epsilon": 1e-4},
    },
    "validation_clips": 2,
}  # fmt: skip
CASES = {
    "the paper's wiring": {},
    "uneven shares": {"training": {"batch": 5}},
    "uneven shares in parts": {"training": {"batch": 5, "accumulation": 2}},
    "one network, muon": {
        "model": {"wiring": "single", "single_blocks": 2},
        "loss": {"guidance_from": "true"},
        "training": {"optimizer": {"name": "muon", "learning_rate": 0.02, "epsilon": 1e-4}},
    },
}


def _section(case):
    return {
        name: {**value, **CASES[case].get(name, {})} if isinstance(value, dict) else value
        for name, value in BASE.items()
    }


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(["uneven shares"], id="quick"),
        pytest.param([case for case in CASES if case != "uneven shares"], id="more", marks=pytest.mark.slow),
    ],
)
def trained(request, tmp_path_factory):
    """Cases, and folder of case -> output folder, of two workers ("pair") and of one ("alone"); to be read only."""
    cases, folder = request.param, tmp_path_factory.mktemp("stage_2")
    write_store(folder / "tokens", train=7)

    def runs(kind):
        return [
            Run(
                "train_transformer",
                _section(case),
                {"tokens": str(folder / "tokens")},
                {"transformer": str(folder / kind / case)},
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
    """Every figure of every step, and the resulting weights."""
    cases, folder = trained
    for case in cases:
        pair, alone = (_curve(folder / kind / case) for kind in ("pair", "alone"))
        assert len(pair) == len(alone) == STEPS
        for here, there in zip(pair, alone, strict=True):
            assert {k for k, v in here.items() if v} == {k for k, v in there.items() if v}
            for name, value in there.items():
                if value:
                    expected = pytest.approx(float(value), rel=1e-3, abs=1e-5)
                    assert float(here[name]) == expected, (case, there["step"], name)
        one, other = (load_file(folder / kind / case / "model.safetensors") for kind in ("pair", "alone"))
        for name, value in other.items():
            torch.testing.assert_close(one[name], value, rtol=1e-3, atol=1e-4, msg=f"{case}: {name}")


def test_rank_0_alone_has_a_work_folder(trained):
    _, folder = trained
    assert [path.name for path in (folder / "pair" / "work").iterdir()] == ["0"]
