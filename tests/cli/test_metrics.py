"""`moso metrics`: figures shown with their protocol, compared only under one."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from moso.cli.metrics import command
from moso.errors import ConfigError, DataError, MismatchError

NOT_COMPUTED = {"metric": "fvd", "reason": "file i3d_torchscript.pt missing", "command": "moso weights fetch i3d"}


def _report(folder, psnr, **protocol):
    folder.mkdir()
    table = pd.DataFrame(
        {
            "clip_id": [f"e{i}@0" for i in range(len(psnr))],
            "episode_id": [f"e{i}" for i in range(len(psnr))],
            "first_frame": 0,
            "method": "prediction",
            "sample": 0,
            "psnr": psnr,
        }
    )
    table.to_parquet(folder / "per_clip.parquet")
    fields = {"data_set": "x", "task": "prediction", "clips": len(psnr), "episodes": len(psnr), **protocol}
    metrics = {
        "prediction": {"psnr": sum(psnr) / len(psnr)},
        "protocol": fields,
        "protocol_digest": f"digest-{sorted(fields.items())}",
        "not_computed": [NOT_COMPUTED],
        "margins": {},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def _moso(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_show_prints_figures_protocol_and_what_was_not_computed_with_its_reason(tmp_path):
    done = _moso("show", _report(tmp_path / "a", [20.0, 30.0], fvd={"batch": 256}))
    assert done.exit_code == 0, done.output
    assert "PSNR" in done.output
    assert "25.0" in done.output
    assert "over 2 clips of 2 episodes" in done.output
    assert "FVD not computed: file i3d_torchscript.pt missing; get it with: moso weights fetch i3d" in done.output
    assert "protocol digest-" in done.output
    assert "  fvd.batch: 256" in done.output


def test_show_prints_what_a_frechet_distance_rests_on(tmp_path):
    folder = _report(tmp_path / "a", [20.0])
    metrics = json.loads((folder / "metrics.json").read_text())
    figure = {"value": 61.5, "drawn": 25600, "reference": 256, "left_out": 0, "extrapolated": 60.25, "reason": ""}
    metrics["frechet"] = {"fvd": figure}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    output = _moso("show", folder).output
    assert "FVD: 61.50, 25600 drawn against 256 true ones; extrapolated to infinitely many: 60.25" in output


def test_compare_prints_the_direction_the_interval_and_what_the_clips_can_show(tmp_path):
    a, b = _report(tmp_path / "a", [31.0, 21.0, 14.0]), _report(tmp_path / "b", [30.0, 20.0, 10.0])
    done = _moso("compare", a, b)
    assert done.exit_code == 0, done.output
    assert "PSNR (higher is better): A - B = +2.0000" in done.output
    assert "3 clips of 3 episodes; detectable at 80% power: " in done.output
    # differences 1, 1, 4: a resampled mean's deviation is sqrt(2 / 3), times 1.95996 + 0.84162
    first, *_, last = done.output.splitlines()
    assert float(first.split("power: ")[1]) == pytest.approx((2 / 3) ** 0.5 * 2.80158, rel=0.03)
    assert last == "FVD and FID are of all videos at once and have no value a clip: they are not part of this test"


def test_frechet_distances_stand_beside_the_test_with_the_same_sign_and_without_an_interval(tmp_path):
    folders = [_report(tmp_path / name, [20.0, 21.0]) for name in "ab"]
    for folder, value in zip(folders, (61.5, 71.0), strict=True):
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["frechet"] = {"fvd": {"value": value}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    output = _moso("compare", *folders).output
    assert "FVD (lower is better): A 61.50, B 71.00, A - B = -9.50, no interval" in output
    assert "FID (" not in output
    asked = _moso("compare", *folders, "--metric", "fvd")
    assert isinstance(asked.exception, ConfigError)
    assert "no value a clip" in str(asked.exception)


def test_reports_of_two_protocols_are_refused_and_the_field_is_named(tmp_path):
    a, b = _report(tmp_path / "a", [1.0]), _report(tmp_path / "b", [1.0], samples_per_video=100)
    done = _moso("compare", a, b)
    assert isinstance(done.exception, MismatchError)
    assert "samples_per_video: (not stated) | 100" in str(done.exception)


def test_table_prints_the_reports_table_and_copies_it(tmp_path):
    folder = _report(tmp_path / "a", [1.0])
    (folder / "table.md").write_text("### Prediction, KTH 64\n\n| method |\n", encoding="utf-8")
    (folder / "table.csv").write_text("method,origin\nMOSO,published\n", encoding="utf-8")
    done = _moso("table", folder, "--csv", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("### Prediction, KTH 64")
    assert (tmp_path / "out.csv").read_text() == "method,origin\nMOSO,published\n"


def test_a_report_without_a_table_says_so(tmp_path):
    done = _moso("table", _report(tmp_path / "a", [1.0]))
    assert isinstance(done.exception, DataError)
    assert "table.md is missing" in str(done.exception)
