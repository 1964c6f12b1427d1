"""The split of an episode: a pure function of its id, never redrawn when data is added (contract 3).

Further rules (official lists, seeded hashes of the id) are further branches of `split_of` with fields in SplitSpec.
"""

from __future__ import annotations

import re

from moso.datasets.spec import SPLITS, Split, SplitSpec
from moso.errors import DataError


def split_of(episode_id: str, spec: SplitSpec) -> Split:
    """The split that `episode_id` belongs to.

    Raises:
        DataError: the id has no split under the rule.
    """
    match = re.search(r"(\d+)$", episode_id)
    if match is None:
        raise DataError(f"{episode_id!r} does not end in a number, which the split rule 'id_ranges' needs")
    number = int(match[1])
    for name in SPLITS:
        first, end = getattr(spec, name)
        if first <= number < end:
            return name
    ranges = ", ".join(f"{name} [{getattr(spec, name)[0]}, {getattr(spec, name)[1]})" for name in SPLITS)
    raise DataError(f"{episode_id!r} lies in no split: {ranges}")
