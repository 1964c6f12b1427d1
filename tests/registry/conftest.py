"""Tables of figures clip by clip, as evaluate writes them (per_clip.parquet)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def a_table():
    return table


def table(values: Sequence[float], episodes: int | None = None, method: str = "prediction", **metrics) -> pd.DataFrame:
    """A row a value of PSNR: clip i belongs to episode i % `episodes` (its own where None)."""
    count = len(values)
    of = [f"seed_{i % (episodes or count):06d}" for i in range(count)]
    first = [i // (episodes or count) * 12 for i in range(count)]
    return pd.DataFrame(
        {
            "clip_id": [f"{name}@{start:05d}" for name, start in zip(of, first, strict=True)],
            "episode_id": of,
            "first_frame": first,
            "method": method,
            "sample": 0,
            "psnr": np.asarray(values, float),
            **metrics,
        }
    )
