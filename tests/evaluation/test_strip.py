import numpy as np
import pandas as pd
from PIL import Image

from moso.evaluation.strip import GAP, HEADER, MARGIN, middle_clips, prediction_strip


def test_strip_shows_truth_above_prediction_a_column_a_frame(tmp_path):
    truth = np.zeros((2, 3, 16, 16, 3), np.uint8) + np.arange(3, dtype=np.uint8)[None, :, None, None, None] * 40
    prediction = truth + 100
    prediction_strip(truth, prediction, 1, tmp_path / "strip.png", scale=2)
    pixels = np.asarray(Image.open(tmp_path / "strip.png"))
    cell, block = 32 + GAP, 2 * (32 + GAP) + 3 * GAP
    assert pixels.shape == (HEADER + 2 * block, MARGIN + 3 * cell, 3)
    for clip in range(2):
        for t in range(3):
            row, column = HEADER + clip * block + 16, MARGIN + t * cell + 16
            assert (pixels[row, column] == 40 * t).all()
            assert (pixels[row + cell, column] == 40 * t + 100).all()


def test_clips_are_taken_from_the_middle_of_the_ranking(tmp_path):
    rows = [
        {"clip_id": f"e{i}@00000", "method": method, "psnr": value}
        for method, values in (("prediction", [10.0, 30, 20, 50, 40]), ("hedge", [1.0, 2, 3, 4, 5]))
        for i, value in enumerate(values)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "per_clip.parquet")
    # By prediction: e3 50, e4 40, e1 30, e2 20, e0 10.
    assert [clip.episode_id for clip in middle_clips(tmp_path, 3)] == ["e4", "e1", "e2"]
    assert [clip.episode_id for clip in middle_clips(tmp_path, 1)] == ["e1"]
