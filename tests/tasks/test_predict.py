"""Several samples of a clip."""

import numpy as np
import pytest

from moso.tasks.checks import InputError

K, P, SIZE = 2, 2, 16


@pytest.mark.parametrize("batch", [16, 4, 2, 1])
def test_sample_j_of_seed_s_is_what_seed_s_plus_j_gives(model, clips, batch):
    given = clips[:3, :K]
    one_by_one = [model.predict(given, seed=[7 + j, 20 + j, 7 + j]) for j in range(4)]
    model.batch = batch
    several = model.predict(given, seed=[7, 20, 7], samples=4)
    assert (several.shape, several.dtype) == ((3, 4, P, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(several, np.stack(one_by_one, axis=1))
    assert (several[:, 0] != several[:, 1]).any()


def test_one_sample_has_its_axis(model, clips):
    one = model.predict(clips[:, :K], seed=3, samples=1)
    np.testing.assert_array_equal(one[:, 0], model.predict(clips[:, :K], seed=3))


def test_no_sample_is_refused(model, clips):
    with pytest.raises(InputError, match="samples: expected a whole number from 1, got 0"):
        model.predict(clips[:, :K], samples=0)
