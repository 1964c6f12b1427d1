"""The per-clip table: what counts of several samples, in each metric's direction, and pairs of two reports."""

import json

import numpy as np
import pandas as pd
import pytest

from moso.errors import ConfigError, DataError, MismatchError
from moso.evaluation.per_clip import compare_reports, method_figures, read_per_clip, video_means

BEST = "each_metric_over_video_mean"


def rows(method, values, **more):
    """Clip by clip, sample by sample: {metric: [[samples of clip 0], [of clip 1], …]}."""
    names = list(values)
    return pd.DataFrame(
        [
            {
                "clip_id": f"e{i}@0",
                "episode_id": f"e{i}",
                "first_frame": 0,
                "method": method,
                "sample": sample,
                **{name: values[name][i][sample] for name in names},
                **more,
            }
            for i in range(len(values[names[0]]))
            for sample in range(len(values[names[0]][i]))
        ]
    )


def report(folder, table, **protocol):
    folder.mkdir()
    table.to_parquet(folder / "per_clip.parquet")
    fields = {"task": "prediction", "best_of": "none", **protocol}
    (folder / "metrics.json").write_text(
        json.dumps({"protocol": fields, "protocol_digest": str(sorted(fields.items()))})
    )
    return folder


def test_the_best_sample_is_the_highest_psnr_and_the_lowest_lpips_each_on_its_own():
    table = rows("prediction", {"psnr": [[20.0, 30.0, 25.0]], "lpips_alex": [[0.3, 0.4, 0.1]]})
    best = video_means(table, BEST).iloc[0]
    assert (best["psnr"], best["lpips_alex"]) == (30.0, 0.1)
    mean = video_means(table, "none").iloc[0]
    assert (mean["psnr"], mean["lpips_alex"]) == pytest.approx((25.0, 0.8 / 3))


def test_a_figure_that_one_sample_lacks_is_lacking_and_not_the_others_mean():
    table = rows("prediction", {"psnr": [[20.0, np.nan], [1.0, 3.0]]})
    for best_of, whole in (("none", 2.0), (BEST, 3.0)):
        found = video_means(table, best_of)["psnr"]
        assert np.isnan(found[0])
        assert found[1] == whole


def test_reports_are_compared_by_what_their_protocol_counts(tmp_path):
    ours = rows("prediction", {"psnr": [[20.0, 30.0], [10.0, 20.0]]})
    theirs = rows("prediction", {"psnr": [[24.0, 24.0], [14.0, 14.0]]})
    mean = compare_reports(report(tmp_path / "a", ours), report(tmp_path / "b", theirs))["psnr"]
    assert mean.mean == pytest.approx(1.0)  # 25 - 24, 15 - 14
    best = compare_reports(report(tmp_path / "c", ours, best_of=BEST), report(tmp_path / "d", theirs, best_of=BEST))
    assert best["psnr"].mean == pytest.approx(6.0)  # 30 - 24, 20 - 14


def test_what_the_protocol_measures_is_compared_by_default(tmp_path):
    both = pd.concat([rows("interpolation", {"psnr": [[3.0]]}), rows("blend", {"psnr": [[1.0]]})])
    a = report(tmp_path / "a", both, task="interpolation")
    b = report(tmp_path / "b", both.assign(psnr=0.0), task="interpolation")
    assert compare_reports(a, b)["psnr"].mean == 3.0
    assert compare_reports(a, b, method="blend")["psnr"].mean == 1.0


def test_protocols_that_count_samples_otherwise_are_refused(tmp_path):
    table = rows("prediction", {"psnr": [[1.0, 2.0]]})
    a, b = report(tmp_path / "a", table), report(tmp_path / "b", table, best_of=BEST)
    with pytest.raises(MismatchError, match=r"best_of: none \| each_metric_over_video_mean"):
        compare_reports(a, b)


def test_reports_without_a_common_clip_or_method_are_refused(tmp_path):
    a = report(tmp_path / "a", rows("prediction", {"psnr": [[1.0]]}))
    other = rows("prediction", {"psnr": [[1.0]]}).assign(clip_id="z@0", episode_id="z")
    with pytest.raises(MismatchError, match="share no clip"):
        compare_reports(a, report(tmp_path / "b", other))
    with pytest.raises(MismatchError, match="'hold'"):
        compare_reports(a, a, method="hold")


def test_a_metric_that_one_report_lacks_is_refused_with_those_that_both_have(tmp_path):
    a = report(tmp_path / "a", rows("prediction", {"psnr": [[1.0]], "lpips_vgg": [[0.1]]}))
    b = report(tmp_path / "b", rows("prediction", {"psnr": [[1.0]]}))
    with pytest.raises(ConfigError, match="both have: psnr"):
        compare_reports(a, b, ["lpips_vgg"])


def test_a_lacking_figure_is_named_and_no_interval_is_made_of_the_rest(tmp_path):
    a = report(tmp_path / "a", rows("prediction", {"psnr": [[1.0], [np.nan]]}))
    b = report(tmp_path / "b", rows("prediction", {"psnr": [[1.0], [1.0]]}))
    with pytest.raises(DataError, match="psnr was not computed for every clip"):
        compare_reports(a, b)


def test_a_table_of_before_there_were_samples_is_read(tmp_path):
    folder = report(tmp_path / "a", rows("prediction", {"psnr": [[1.0], [2.0]]}).drop(columns="sample"))
    assert read_per_clip(folder)["sample"].tolist() == [0, 0]


def test_a_report_of_videos_from_nothing_says_why_it_has_no_table_by_clip(tmp_path):
    folder = report(tmp_path / "a", rows("prediction", {"psnr": [[1.0]]}), task="unconditional")
    (folder / "per_clip.parquet").unlink()
    with pytest.raises(DataError, match="no truth"):
        read_per_clip(folder)


def test_figures_come_in_the_order_of_tables_and_other_keys_are_no_method():
    figures = {"hedge": {"psnr": 1.0}, "protocol": {"task": "prediction"}, "prediction": {"psnr": 2.0, "fvd": 3.0}}
    assert list(method_figures(figures)) == ["prediction", "hedge"]
