"""Drift: how new data differs from the training data, in the champion's eyes and in plain pixels.

Brightness and motion are taken episode by episode, so that a difference can be held against how much episodes differ
among themselves. Tokens and reconstruction are the champion VQVAE's: what it has no words for, it draws badly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moso.frames.cache import FrameCache
from moso.provenance import finite

EPISODE_MEASURES = {"brightness": "grey levels", "motion": "grey levels", "reconstruction_psnr": "dB"}
"""Columns of an episode table that are compared, and their units."""
Histograms = Mapping[str, NDArray[np.int64]]


def episode_figures(cache: FrameCache, episodes: Sequence[str]) -> pd.DataFrame:
    """A row an episode: episode_id, brightness, motion.

    Brightness is the mean over frames, pixels and channels, motion the mean absolute difference between neighbouring
    frames; both in grey levels [0, 255]. Motion of a single frame is 0.
    """
    rows = []
    for episode_id in episodes:
        video = cache.frames(episode_id).astype(np.float64)
        motion = float(np.abs(np.diff(video, axis=0)).mean()) if len(video) > 1 else 0.0
        rows.append((episode_id, float(video.mean()), motion))
    return pd.DataFrame(rows, columns=["episode_id", "brightness", "motion"])


def compare_episodes(training: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """A row a measure of EPISODE_MEASURES that both tables have.

    Columns: measure, unit, training and new (means over episodes), difference (new - training), spread (the standard
    deviation over training episodes, n - 1 below) and shift: the difference in spreads; NaN where the spread is 0 or
    there are fewer than two training episodes.
    """
    rows = []
    for measure, unit in EPISODE_MEASURES.items():
        if measure not in training or measure not in new:
            continue
        old, now = float(training[measure].mean()), float(new[measure].mean())
        spread = float(training[measure].std(ddof=1)) if len(training) > 1 else float("nan")
        shift = (now - old) / spread if spread > 0 else float("nan")
        rows.append((measure, unit, old, now, now - old, spread, shift))
    return pd.DataFrame(rows, columns=["measure", "unit", "training", "new", "difference", "spread", "shift"])


def perplexity(counts: NDArray[np.int64]) -> float:
    """2 to the entropy of a token histogram: how many codes are in use, as evenly used ones; 0 without tokens."""
    total = counts.sum()
    if not total:
        return 0.0
    share = counts[counts > 0] / total
    return float(2.0 ** -(share * np.log2(share)).sum())


def total_variation(training: NDArray[np.int64], new: NDArray[np.int64]) -> float:
    """Half the sum of differences of two histograms' shares, in [0, 1]: the share of tokens that went elsewhere.

    NaN where one of them has no tokens.
    """
    if not training.sum() or not new.sum():
        return float("nan")
    return float(np.abs(training / training.sum() - new / new.sum()).sum() / 2)


def compare_tokens(training: Histograms, new: Histograms) -> pd.DataFrame:
    """A row a component: component, perplexity_training, perplexity_new, total_variation, unseen.

    unseen: share of the new tokens that are codes which the training data never uses, in [0, 1].
    """
    rows = []
    for component, counts in training.items():
        now = new[component]
        unseen = float(now[counts == 0].sum() / now.sum()) if now.sum() else float("nan")
        rows.append((component, perplexity(counts), perplexity(now), total_variation(counts, now), unseen))
    columns = ["component", "perplexity_training", "perplexity_new", "total_variation", "unseen"]
    return pd.DataFrame(rows, columns=columns)


def as_metrics(episodes: pd.DataFrame, tokens: pd.DataFrame) -> dict[str, Any]:
    """Plain data of both tables, as drift.json and a tracker take it: {"brightness": {...}, "tokens": {"scene": …}}.

    What is not a finite number is None.
    """
    found: dict[str, Any] = {row.pop("measure"): finite(row) for row in episodes.to_dict("records")}
    found["tokens"] = {row.pop("component"): finite(row) for row in tokens.to_dict("records")}
    return found
