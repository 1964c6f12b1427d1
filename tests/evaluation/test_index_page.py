import json
import re
import shutil

import pandas as pd
import pytest
from click.testing import CliRunner

from moso.cli.report import command
from moso.errors import DataError, FormatError
from moso.evaluation.index_page import read_runs, render_index
from moso.provenance import digest_json, write_provenance


def report(folder, psnr=20.0, given=2):
    """The files of a report that the index reads."""
    folder.mkdir(parents=True)
    protocol = {"data_set": "squares", "clips": 3, "given_frames": given, "metrics": {"psnr": "dB"}}
    metrics = {
        "prediction": {"psnr": psnr, "ssim": 0.5},
        "repeat_last": {"psnr": 18.0, "ssim": 0.4},
        "protocol": protocol,
        "protocol_digest": digest_json(protocol),
        "model_digest": "ab" * 32,
        "not_computed": [{"metric": "FVD", "reason": "file i3d missing", "command": "moso weights fetch i3d"}],
        "sampling": {"steps": 4, "schedule": "cosine"},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    table = pd.DataFrame({"frame": [3, 4], "method": ["prediction"] * 2, "psnr": [psnr + 1, psnr - 1]})
    table.assign(psnr_low=0.0, psnr_high=99.0).to_csv(folder / "per_frame.csv", index=False)
    write_provenance(folder, format="moso.report", version=1, step="evaluate", config={}, inputs={})
    return folder


def test_reports_below_a_folder_are_found_once_with_the_shortest_names_that_tell_them_apart(tmp_path):
    report(tmp_path / "one" / "reports")
    report(tmp_path / "two" / "reports")
    runs = read_runs([tmp_path, tmp_path / "two" / "reports"])
    assert [run.name for run in runs] == ["one/reports", "two/reports"]


def test_curves_are_the_rows_of_the_table_and_bands_are_no_metric_of_their_own(tmp_path):
    (run,) = read_runs([report(tmp_path / "a")])
    assert run.curves == {"psnr": {"prediction": [[3.0, 21.0], [4.0, 19.0]]}}
    assert set(run.figures) == {"prediction", "repeat_last"}


def test_figures_of_two_protocols_stand_in_two_tables_each_under_its_words(tmp_path):
    runs = read_runs([report(tmp_path / "a"), report(tmp_path / "b", given=1), report(tmp_path / "c")])
    page = render_index(runs, tmp_path)
    first, second = re.findall(r"<h3>(.*?)</h3>(.*?)</table>", page, re.S)
    assert "2 \u2192" in first[0]
    assert "1 \u2192" in second[0]
    assert [">a</a>" in first[1], ">b</a>" in first[1], ">c</a>" in first[1]] == [True, False, True]
    assert ">b</a>" in second[1]


def test_a_name_that_ends_a_script_stays_text(tmp_path):
    page = render_index(read_runs([report(tmp_path / "<" / "script><b>x")]), tmp_path)
    assert page.count("</script>") == 2
    assert "<b>x" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert data["runs"][0]["name"] == "script><b>x"


def test_links_are_relative_to_where_the_page_lies_and_quoted(tmp_path):
    runs = read_runs([report(tmp_path / "a run #1")])
    assert 'href="../a%20run%20%231/index.html"' in render_index(runs, tmp_path / "pages")


def test_protocols_are_compared_leaf_by_leaf(tmp_path):
    page = render_index(read_runs([report(tmp_path / "a"), report(tmp_path / "b", given=5)]), tmp_path)
    first, second = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["runs"]
    assert {k for k in first["protocol"] if first["protocol"][k] != second["protocol"][k]} == {"given_frames"}
    assert first["protocol"]["metrics.psnr"] == '"dB"'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_refused_by_file_and_name(tmp_path, value):
    folder = report(tmp_path / "a")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["repeat_last"]["ssim"] = value
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(DataError, match=rf"a/metrics\.json: repeat_last\.ssim is {value}"):
        read_runs([folder])


def test_a_curve_that_runs_to_infinity_is_refused_by_file_frame_and_method(tmp_path):
    folder = report(tmp_path / "a")
    table = pd.read_csv(folder / "per_frame.csv")
    table.loc[1, "psnr"] = float("inf")
    table.to_csv(folder / "per_frame.csv", index=False)
    with pytest.raises(DataError, match=r"per_frame\.csv: psnr of prediction at frame 4 is inf"):
        read_runs([folder])


def test_the_figures_of_a_run_are_those_of_its_task(tmp_path):
    folder = report(tmp_path / "a")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["generation"] = {"fvd": 412.34, "fvd_extrapolated": 399.9}
    metrics["protocol"]["task"] = "unconditional"
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "per_frame.csv").unlink()  # of what is drawn from nothing there is none
    (run,) = read_runs([folder])
    assert (run.main, run.curves) == ("generation", {})
    page = render_index([run], tmp_path)
    assert ">FVD, extrapolated<" in page
    assert ">412.3<" in page


def test_a_folder_without_a_report_is_named_and_left_out_where_another_has_one(tmp_path):
    report(tmp_path / "reports")
    (tmp_path / "ablations").mkdir()
    page = tmp_path / "runs.html"
    arguments = ["index", str(tmp_path / "reports"), str(tmp_path / "ablations"), "--output", str(page)]
    done = CliRunner().invoke(command, arguments)
    assert (done.exit_code, done.stdout) == (0, f"{page}: 1 run\n")
    assert done.stderr == f"{tmp_path / 'ablations'}: no report there or below; left out\n"
    shutil.rmtree(tmp_path / "reports")
    page.unlink()
    (tmp_path / "reports").mkdir()
    alone = CliRunner().invoke(command, arguments)
    assert isinstance(alone.exception, DataError)
    assert "reports, " in str(alone.exception)
    assert not page.exists()


def test_what_is_no_report_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match="no report there or below"):
        read_runs([tmp_path])
    broken = report(tmp_path / "broken")
    (broken / "per_frame.csv").unlink()
    with pytest.raises(DataError, match=r"broken.*rerun the step evaluate"):
        read_runs([broken])
    later = report(tmp_path / "later")
    record = json.loads((later / "provenance.json").read_text())
    (later / "provenance.json").write_text(json.dumps({**record, "format_version": 9}))
    with pytest.raises(FormatError, match="version 9"):
        read_runs([later])
