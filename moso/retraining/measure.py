"""The drift of new episodes, measured: pixels and reconstruction by episode, tokens by component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moso.errors import DataError
from moso.evaluation.reconstruction import reconstruct_clips
from moso.frames.cache import FrameCache
from moso.frames.clips import Clip, Clips
from moso.retraining.drift import as_metrics, compare_episodes, compare_tokens, episode_figures
from moso.tokens.store import TokenStore
from moso.vqvae.model import VQVAE

ROWS = 4096
"""Clips whose tokens are read at a time."""


def measure_drift(
    vqvae: VQVAE, cache: FrameCache, store: TokenStore, training: Sequence[str], new: Sequence[str], most: int
) -> dict[str, Any]:
    """What `as_metrics` gives, of new against training episodes.

    Args:
        vqvae: the champion's Stage I.
        cache: holds the episodes of both.
        store: their tokens by that Stage I.
        training: ids of the training episodes.
        new: ids of the new ones, of any split.
        most: episodes of each side whose pixels and reconstruction are looked at, evenly spaced; tokens are counted
            over all.

    Raises:
        DataError: a side without an episode as long as a clip.
        MismatchError: tokens of another codebook.
    """
    tables = [_figures(vqvae, cache, side, most) for side in (training, new)]
    histograms = [token_histograms(store, side) for side in (training, new)]
    return as_metrics(compare_episodes(*tables), compare_tokens(*histograms))


def token_histograms(store: TokenStore, episodes: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Component -> counts (N,) over all stored clips of `episodes`; each target clip's tokens."""
    counts = {name: np.zeros(store.codebook_size, dtype=np.int64) for name in store.grids.components}
    rows = np.flatnonzero(store.table["episode_id"].isin(list(episodes)))
    for first in range(0, len(rows), ROWS):
        target = store.batch(rows[first : first + ROWS]).target
        for name, count in counts.items():
            count += np.bincount(getattr(target, name).flatten().numpy(), minlength=store.codebook_size)
    return counts


def _figures(vqvae: VQVAE, cache: FrameCache, episodes: Sequence[str], most: int) -> pd.DataFrame:
    length = vqvae.config.frames
    long = [name for name in episodes if cache.place(name).frames >= length]
    if not long:
        raise DataError(f"drift: none of {len(episodes)} episodes has {length} frames, the length of a clip")
    chosen = [long[i] for i in np.unique(np.linspace(0, len(long) - 1, min(most, len(long))).round().astype(int))]
    clips = Clips(cache, [Clip(name, 0) for name in chosen], length)
    psnr = reconstruct_clips(vqvae, clips, metrics=("psnr",)).values["psnr"].mean(axis=1)
    return episode_figures(cache, chosen).assign(reconstruction_psnr=psnr)
