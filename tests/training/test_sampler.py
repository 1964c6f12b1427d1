import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moso.training.sampler import Sample, order, samples
from moso.training.world import Solo


def world(rank, size):
    one = Solo()
    one.rank, one.size = rank, size
    return one


def test_an_epoch_visits_every_sample_once_in_another_order_each_time():
    first, second = order(1, 0, 50), order(1, 1, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, order(2, 0, 50))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_global_batch_is_the_same_whatever_the_number_of_workers(size):
    alone = samples(0, 10, 8, 7, Solo())
    dealt = [samples(0, 10, 8, 7, world(rank, size)) for rank in range(size)]
    assert [sample for part in dealt for sample in part] == alone
    lengths = [len(part) for part in dealt]
    assert max(lengths) - min(lengths) <= 1


def test_a_batch_goes_on_into_the_next_epoch():
    batch = samples(3, 5, 3, 4, Solo())
    assert [(s.position, s.epoch) for s in batch] == [(3, 0), (4, 0), (5, 1), (6, 1)]
    assert [s.index for s in batch] == [*order(3, 0, 5)[3:], *order(3, 1, 5)[:2]]


def test_small_steps_see_the_samples_of_large_ones():
    whole = samples(0, 7, 0, 12, Solo())
    assert [s for at in range(0, 12, 4) for s in samples(0, 7, at, 4, Solo())] == whole
    assert isinstance(whole[0], Sample)


def test_an_empty_set_and_too_many_workers_are_refused():
    with pytest.raises(ValueError, match="empty"):
        samples(0, 0, 0, 1, Solo())
    with pytest.raises(ValueError, match="3 workers"):
        samples(0, 5, 0, 2, world(0, 3))


def test_a_batch_larger_than_the_data_set_goes_over_several_epochs():
    batch = samples(2, 3, 1, 8, Solo())
    assert [s.epoch for s in batch] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [s.position for s in batch] == list(range(1, 9))
    assert [s.index for s in batch] == [int(order(2, at // 3, 3)[at % 3]) for at in range(1, 9)]


@given(data=st.data(), size=st.integers(1, 40), workers=st.integers(1, 9), batches=st.integers(1, 6))
def test_workers_share_every_batch_without_overlap_or_loss(data, size, workers, batches):
    """Whatever the sizes: what all workers get of some batches, in order, is the order of the training; so an epoch
    visits every sample once."""
    count = data.draw(st.integers(workers, 30), label="batch")
    start = data.draw(st.integers(0, 50), label="first position")
    dealt = [
        sample
        for batch in range(batches)
        for rank in range(workers)
        for sample in samples(5, size, start + batch * count, count, world(rank, workers))
    ]
    assert [s.position for s in dealt] == list(range(start, start + batches * count))
    assert all(
        (s.epoch, s.index) == (s.position // size, order(5, s.position // size, size)[s.position % size]) for s in dealt
    )
    whole = [s.index for s in dealt if s.epoch == start // size + 1]
    if dealt[-1].position >= (start // size + 2) * size - 1:  # one epoch lies wholly inside
        assert sorted(whole) == list(range(size))


@given(data=st.data(), size=st.integers(1, 40), batch=st.integers(4, 30))
def test_a_resumed_training_with_other_workers_goes_on_in_the_same_order(data, size, batch):
    at = 0
    seen = []
    for _ in range(4):
        workers = data.draw(st.integers(1, 4), label="workers")
        seen += [s for rank in range(workers) for s in samples(5, size, at, batch, world(rank, workers))]
        at += batch
    assert seen == samples(5, size, 0, 4 * batch, Solo())
