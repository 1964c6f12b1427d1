"""A batch in parts gives the update of the whole batch, up to rounding."""

import pytest
import torch

from moso.errors import ConfigError
from moso.training.accumulation import split


def test_parts_are_neighbours_that_miss_nothing_and_differ_by_one_at_most():
    samples = list(range(7))
    parts = [samples[part] for part in split(7, 3)]
    assert parts == [[0, 1], [2, 3], [4, 5, 6]]
    with pytest.raises(ValueError, match="2 samples"):
        split(2, 3)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_training_in_uneven_parts_is_that_of_whole_batches_its_rival_included(run, toy, config, optimizer):
    from moso.training.config import OptimizerConfig

    settings = {"batch": 5, "optimizer": OptimizerConfig(optimizer, learning_rate=0.02)}
    found = []
    for accumulation in (1, 3, 5):
        objective = toy.Toy(dropout=0.0, rival_from=1)
        history = run(objective, config(accumulation=accumulation, **settings), work=f"in_{accumulation}")
        assert [len(seen) for seen in objective.seen[:accumulation]] == [[5], [], [1, 2, 2], [], [1] * 5][
            accumulation - 1
        ]
        found.append((objective, history))
    (whole, curve), *others = found
    for other, history in others:
        for mine, theirs in ((whole, other), (whole.rivals[0], other.rivals[0])):
            for name, value in mine.module.state_dict().items():
                torch.testing.assert_close(theirs.module.state_dict()[name], value, msg=name)
        assert [row.keys() for row in history] == [row.keys() for row in curve]
        for row, expected in zip(history, curve, strict=True):
            assert row == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_more_parts_than_samples_are_refused(config):
    with pytest.raises(ConfigError, match=r"accumulation.*batch of 4"):
        config(batch=4, accumulation=5)
