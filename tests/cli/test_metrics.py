"""`moso metrics`: figures shown with their protocol, compared only under one."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from moso.cli.metrics import command
from moso.errors import MismatchError
from moso.evaluation.per_clip import compare_reports


def _report(folder, psnr, samples_per_video=1, sampled=False):
    folder.mkdir()
    rows = [
        {"clip_id": f"e{i}@0", "episode_id": f"e{i}", "first_frame": 0, "method": "prediction", "psnr": value}
        for i, value in enumerate(psnr)
    ]
    table = pd.DataFrame(rows)
    if sampled:  # two samples a clip, 1 dB above and below
        table = pd.concat([table.assign(sample=s, psnr=table["psnr"] + d) for s, d in ((0, 1.0), (1, -1.0))])
    table.to_parquet(folder / "per_clip.parquet")
    protocol = {"samples_per_video": samples_per_video, "data_set": "x"}
    metrics = {"protocol": protocol, "protocol_digest": f"digest{samples_per_video}"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_the_difference_is_paired_by_clip_and_means_are_over_samples(tmp_path):
    a = _report(tmp_path / "a", [31.0, 21.0, 11.0], sampled=True)
    b = _report(tmp_path / "b", [30.0, 20.0, 10.0])
    interval = compare_reports(a, b)["psnr"]
    assert interval.mean == pytest.approx(1.0)
    assert (interval.low, interval.high) == pytest.approx((1.0, 1.0))
    assert (interval.clips, interval.episodes) == (3, 3)


def test_reports_of_two_protocols_are_refused_and_the_field_is_named(tmp_path):
    a, b = _report(tmp_path / "a", [1.0]), _report(tmp_path / "b", [1.0], samples_per_video=100)
    with pytest.raises(MismatchError, match=r"samples_per_video: 1 \| 100"):
        compare_reports(a, b)


def test_show_prints_the_mean_and_the_protocol(tmp_path):
    result = CliRunner().invoke(command, ["show", str(_report(tmp_path / "a", [20.0, 30.0]))])
    assert result.exit_code == 0, result.output
    assert "25.0" in result.output
    assert "digest1" in result.output
