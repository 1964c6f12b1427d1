"""Drift, by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from moso.frames.cache import FrameCache, FrameCacheWriter
from moso.retraining.drift import (
    as_metrics,
    compare_episodes,
    compare_tokens,
    episode_figures,
    perplexity,
    total_variation,
)
from moso.retraining.drift_page import drift_lines, render_drift_page


def test_brightness_and_motion_of_an_episode_by_hand(tmp_path):
    """Frames of 10, 30 and 60 everywhere: mean 100 / 3, changes 20 and 30."""
    video = np.stack([np.full((8, 8, 3), value, dtype=np.uint8) for value in (10, 30, 60)])
    with FrameCacheWriter(tmp_path, height=8, width=8, fps=10.0) as writer:
        writer.add("e", "train", video, None, None)
        writer.add("still", "train", video[:1], None, None)
    table = episode_figures(FrameCache.open(tmp_path), ["e", "still"])
    assert list(table["brightness"]) == pytest.approx([100 / 3, 10.0])
    assert list(table["motion"]) == pytest.approx([25.0, 0.0])


def test_a_shift_is_the_difference_in_standard_deviations_over_training_episodes():
    """Training 90, 100, 110: mean 100, deviation 10. New 120, 140: mean 130, hence 3 deviations."""
    training = pd.DataFrame({"brightness": [90.0, 100.0, 110.0], "motion": [2.0, 2.0, 2.0]})
    new = pd.DataFrame({"brightness": [120.0, 140.0], "motion": [3.0, 3.0]})
    table = compare_episodes(training, new).set_index("measure")
    assert dict(table.loc["brightness", ["training", "new", "difference", "spread", "shift"]]) == pytest.approx(
        {"training": 100.0, "new": 130.0, "difference": 30.0, "spread": 10.0, "shift": 3.0}
    )
    assert table.loc["motion", "difference"] == 1.0
    assert np.isnan(table.loc["motion", "shift"])  # episodes that do not differ give no measure
    assert "reconstruction_psnr" not in table.index


def test_perplexity_counts_evenly_used_codes():
    assert perplexity(np.array([5, 5, 5, 5, 0])) == pytest.approx(4.0)
    assert perplexity(np.array([7, 0, 0])) == pytest.approx(1.0)
    # shares 1/2, 1/4, 1/4: entropy 1.5 bits
    assert perplexity(np.array([4, 2, 2])) == pytest.approx(2**1.5)
    assert perplexity(np.zeros(3, dtype=np.int64)) == 0.0


def test_total_variation_is_the_share_that_went_elsewhere():
    assert total_variation(np.array([3, 1]), np.array([30, 10])) == 0.0
    assert total_variation(np.array([1, 0]), np.array([0, 9])) == 1.0
    # 3/4, 1/4 against 1/4, 3/4
    assert total_variation(np.array([3, 1]), np.array([1, 3])) == pytest.approx(0.5)
    assert np.isnan(total_variation(np.array([0, 0]), np.array([1, 1])))


def test_unseen_codes_are_those_that_training_never_uses():
    table = compare_tokens({"scene": np.array([4, 4, 0, 0])}, {"scene": np.array([2, 0, 5, 1])})
    row = table.iloc[0]
    assert (row["component"], row["unseen"]) == ("scene", pytest.approx(6 / 8))
    assert row["perplexity_training"] == pytest.approx(2.0)
    # |1/2 - 1/4| + |1/2 - 0| + |0 - 5/8| + |0 - 1/8| = 1.5
    assert row["total_variation"] == pytest.approx(0.75)


def test_the_metric_is_json_without_nan_and_the_page_shows_every_figure():
    episodes = compare_episodes(
        pd.DataFrame({"brightness": [100.0], "motion": [2.0]}), pd.DataFrame({"brightness": [123.4], "motion": [2.5]})
    )
    tokens = compare_tokens({"motion": np.array([1, 1])}, {"motion": np.array([0, 2])})
    metrics = as_metrics(episodes, tokens)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["brightness"]["shift"] is None
    page = render_drift_page("Drift & <more>", metrics, "8 episodes against 80")
    for shown in ("123.4", "brightness", "motion", "0.5", "not known", "Drift &amp; &lt;more&gt;"):
        assert shown in page
    assert any(
        line.startswith("motion tokens: perplexity 2 -> 1, total variation 0.5") for line in drift_lines(metrics)
    )
