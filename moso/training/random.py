"""Random numbers by key: each draw has its own generator, named by what it is for, so that nothing depends on history.

A generator keyed by (seed, "masking", step, sample) gives the same numbers whatever was drawn before, on whichever of
how many workers: that is what makes a resumed run, and a run on another number of workers, see the same data.

Dropout is the one exception: torch's operations draw it for a whole tensor from the global generator, so it is keyed
by (seed, step, rank) and is other draws of the same distribution on another number of workers. Keyed by sample it would
take a mask made on the CPU for each sample and layer, and attention written out, since the fused one draws for itself.
"""

from __future__ import annotations

import hashlib

import torch


def key_seed(seed: int, *keys: int | str) -> int:
    """A seed in [0, 2**63) from `seed` and `keys`; other keys, other types or another order give an unrelated one.

    Raises:
        TypeError: a key is neither int nor str (floats print differently, objects have no stable form).
    """
    parts = []
    for key in (seed, *keys):
        if isinstance(key, bool) or not isinstance(key, (int, str)):
            raise TypeError(f"random keys are whole numbers or texts, not {type(key).__name__} ({key!r})")
        text = str(key)
        # Type and length in front: ("ab", "c") and ("a", "bc"), or 1 and "1", must not meet.
        parts.append(f"{'i' if isinstance(key, int) else 's'}{len(text)}:{text}")
    digest = hashlib.blake2b("".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *keys: int | str) -> torch.Generator:
    """A generator on the CPU that is seeded by `seed` and `keys`.

    On the CPU whatever the training's device: a CUDA generator gives other numbers for the same seed.
    """
    return torch.Generator().manual_seed(key_seed(seed, *keys))
