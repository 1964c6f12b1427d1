"""The seed of a clip's sample: from the evaluation's seed and the clip's id, so that a clip keeps it in any company."""

from __future__ import annotations

import hashlib

from moso.frames.clips import Clip


def sampling_seed(seed: int, clip: Clip) -> int:
    """The seed of a clip's sample, in [0, 2^31): from the evaluation's seed and the clip's id and nothing else."""
    return int.from_bytes(hashlib.sha256(f"{seed} {clip.id}".encode()).digest()[:4], "big") >> 1
