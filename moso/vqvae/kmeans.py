"""k-means over vectors that lie on one or several workers: the codebook that quantisation starts with.

S samples (clips), V vectors of each, D dimensions, N centres.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moso.training.world import World
from moso.vqvae.quantizer import nearest


def rows_at(
    places: Int[Tensor, " M"], vectors: Float[Tensor, "S V D"], slots: Int[Tensor, " S"], world: World
) -> Float[Tensor, "M D"]:
    """Vectors by place, the same on every worker however the samples were dealt.

    Args:
        places: slot x V + number of the vector within its sample, for any slot of any worker.
        vectors: this worker's samples.
        slots: each sample's place among all workers' samples.
    """
    per_sample = vectors.shape[1]
    found = vectors.new_zeros(len(places), vectors.shape[2])
    if len(slots):  # with fewer samples than workers some have none
        owned = (places[:, None] // per_sample == slots[None]).to(torch.uint8)
        here = owned.bool().any(1)
        sample = owned.argmax(1)[here]
        found[here] = vectors[sample, places[here] % per_sample]
    return world.all_reduce_(found)


@torch.no_grad()
def kmeans(
    vectors: Float[Tensor, "S V D"],
    slots: Int[Tensor, " S"],
    samples: int,
    size: int,
    *,
    generator: torch.Generator,
    iterations: int,
    world: World,
) -> tuple[Float[Tensor, "N D"], Float[Tensor, " N"]]:
    """Lloyd's algorithm from `size` random vectors; a centre that loses all its vectors is put on a random one.

    Args:
        vectors: this worker's samples; `slots` their places among `samples` of all workers.
        size: N.

    Returns:
        Centres, and how many vectors each has.
    """
    device, per_sample = vectors.device, vectors.shape[1]
    total = samples * per_sample
    # distinct ones while there are enough
    places = torch.cat([torch.randperm(total, generator=generator) for _ in range(-(-size // total))])[:size]
    centres = rows_at(places.to(device), vectors, slots, world)
    flat = vectors.flatten(0, 1)
    counts = flat.new_zeros(size)
    for _ in range(iterations):
        tokens = nearest(flat, centres)
        counts = world.all_reduce_(flat.new_zeros(size).index_add_(0, tokens, flat.new_ones(len(flat))))
        sums = world.all_reduce_(torch.zeros_like(centres).index_add_(0, tokens, flat))
        elsewhere = torch.randint(total, (size,), generator=generator).to(device)
        spare = rows_at(elsewhere, vectors, slots, world)
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), spare)
    return centres, counts
