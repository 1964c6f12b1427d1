"""The codebook that quantisation starts with."""

import torch

from moso.training.random import generator
from moso.training.world import Solo
from moso.vqvae.kmeans import kmeans, rows_at

SOLO = Solo()
CENTRES = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def _samples(count=12, vectors=30):
    """Three tight clusters, 10 vectors of each in every sample."""
    noise = torch.randn(count, vectors, 2, generator=generator(0, "noise")) * 0.1
    return CENTRES[torch.arange(vectors) % 3] + noise


def _fit(vectors, slots, samples, world, size=3, seed=0):
    return kmeans(vectors, slots, samples, size, generator=generator(seed, "k"), iterations=8, world=world)


def test_separated_clusters_are_found_and_counted():
    samples = _samples()
    # more centres than clusters: every centre lies in a cluster and every cluster has one
    centres, counts = _fit(samples, torch.arange(12), 12, SOLO, size=12)
    nearest = torch.cdist(centres, CENTRES).min(1)
    assert nearest.values.max() < 0.5
    assert set(nearest.indices.tolist()) == {0, 1, 2}
    assert counts.sum() == 12 * 30


def test_one_seed_gives_one_codebook_and_another_another():
    samples = _samples()
    first, again, other = (_fit(samples, torch.arange(12), 12, SOLO, size=8, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fewer_vectors_than_centres_still_give_a_codebook():
    centres, counts = _fit(_samples(1, 3), torch.arange(1), 1, SOLO, size=7)
    assert centres.shape == (7, 2)
    assert centres.isfinite().all()
    assert counts.sum() == 3


def test_two_workers_find_what_one_finds(workers):
    samples = _samples()
    alone, counts = _fit(samples, torch.arange(12), 12, SOLO, size=6)

    def work(world):
        mine = torch.arange(12)[world.rank :: 2]
        return _fit(samples[mine], mine, 12, world, size=6)

    for centres, theirs in workers(2).run(work):
        assert torch.allclose(centres, alone, atol=1e-5)
        assert torch.equal(theirs, counts)


def test_rows_are_the_same_whoever_holds_the_sample(workers):
    vectors = torch.arange(24.0).view(4, 3, 2)
    places = torch.tensor([0, 11, 4, 4])
    expected = vectors.flatten(0, 1)[places]
    assert torch.equal(rows_at(places, vectors, torch.arange(4), SOLO), expected)
    parts = [torch.tensor([3, 0]), torch.tensor([1, 2])]
    for found in workers(2).run(lambda world: rows_at(places, vectors[parts[world.rank]], parts[world.rank], world)):
        assert torch.equal(found, expected)


def test_a_worker_without_a_sample_finds_what_the_others_find(workers):
    """One sample for two workers: so few are enough for a small codebook."""
    samples = _samples(1, 30)
    alone, counts = _fit(samples, torch.arange(1), 1, SOLO, size=6)

    def work(world):
        mine = torch.arange(1)[world.rank :: 2]
        return _fit(samples[mine], mine, 1, world, size=6)

    for centres, theirs in workers(2).run(work):
        assert torch.equal(centres, alone)
        assert torch.equal(theirs, counts)
