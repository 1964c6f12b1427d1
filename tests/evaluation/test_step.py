import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from components.evaluate.step import Config, run
from moso.config import build
from moso.errors import ConfigError, DataError, MismatchError
from moso.evaluation.statistics import paired_bootstrap
from moso.provenance import digest_json, read_provenance
from moso.step import Context

CONFIG = Config(data_set="squares", min_clips=6, min_episodes=3, resamples=200, shown_clips=3)
FILES = {
    "metrics.json", "per_clip.parquet", "per_frame.csv", "table.md", "table.csv", "example.npy", "index.html",
    "provenance.json",
}  # fmt: skip
METHODS = ("prediction", "repeat_last", "mean_given", "linear", "hedge", "reconstruction", "motion_frozen")


@pytest.fixture(scope="session")
def report(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "promotion.json").write_text("{}")
    work = tmp_path_factory.mktemp("work")
    run(CONFIG, inputs, {"report": folder}, Context(work=work, device="cpu"))
    assert not list(work.glob("*/*"))  # a whole run leaves nothing to go on with
    return folder


@pytest.fixture(scope="session")
def metrics(report):
    return json.loads((report / "metrics.json").read_text())


def test_report_holds_its_files_and_leaves_others_alone(report):
    assert {path.name for path in report.iterdir()} == {*FILES, "promotion.json"}


def test_metrics_are_means_over_clips_for_every_method(report, metrics):
    rows = pd.read_parquet(report / "per_clip.parquet")
    for method in METHODS:
        for metric in ("psnr", "ssim"):
            expected = rows[rows["method"] == method][metric].mean()
            assert metrics[method][metric] == pytest.approx(expected)
    assert 0 < metrics["repeat_last"]["ssim"] < 1 < metrics["repeat_last"]["psnr"]


def test_margins_are_the_paired_bootstrap_of_the_per_clip_rows(report, metrics):
    rows = pd.read_parquet(report / "per_clip.parquet").pivot(index="clip_id", columns="method", values="psnr")
    episodes = [name.split("@")[0] for name in rows.index]
    for baseline in ("repeat_last", "hedge"):
        expected = paired_bootstrap(rows["prediction"].to_numpy(), rows[baseline].to_numpy(), episodes, resamples=200)
        found = metrics["margins"][f"over_{baseline}"]["psnr"]
        values = {"mean": expected.mean, "low": expected.low, "high": expected.high}
        assert found == pytest.approx({**values, "detectable": expected.detectable()})
        assert found["mean"] == pytest.approx(metrics["prediction"]["psnr"] - metrics[baseline]["psnr"])


def test_protocol_lies_beside_its_digest(metrics):
    assert metrics["protocol_digest"] == digest_json(metrics["protocol"])
    expected = {"data_set": "squares", "split": "test", "clips": 6, "episodes": 3, "given_frames": 2, "clip_frames": 4}
    assert expected.items() <= metrics["protocol"].items()
    assert metrics["sampling"]["steps"] == 2  # the model's own, beside the protocol and no part of it


def test_metrics_that_need_weights_are_named_without_a_number(report, metrics):
    assert [entry["metric"] for entry in metrics["not_computed"]] == ["lpips_alex", "fvd"]
    assert "alexnet-owt-7be5be79.pth missing" in metrics["not_computed"][0]["reason"]
    assert set(metrics["prediction"]) == {"psnr", "ssim"}
    page = (report / "index.html").read_text()
    assert "moso weights fetch alexnet" in page
    assert "moso weights fetch i3d" in page


def test_example_is_the_first_clips_given_frames(report, cache):
    example = np.load(report / "example.npy", allow_pickle=False)
    np.testing.assert_array_equal(example[0], cache.frames("seed_000004", 0, 2))
    assert example.shape == (1, 2, 16, 16, 3)


def test_page_is_whole_and_asks_for_nothing_from_outside(report):
    page = (report / "index.html").read_text()
    assert not re.findall(r"(?:https?:|//)[\w.-]+\.\w+/", re.sub(r"base64,[\w+/=]+", "", page))
    assert set(re.findall(r'(?:src|href)="([^#"][^"]*)"', page)) == {"data:,"}
    assert page.count('class="film"') == 3 + 1  # three clips, one recombination
    assert page.count("data:image/webp;base64,") == 4


def test_page_shows_the_figures_of_metrics_json(report, metrics):
    page = (report / "index.html").read_text()
    for method in METHODS:
        assert f"{metrics[method]['psnr']:.2f}\u00a0dB" in page
        assert f"{metrics[method]['ssim']:.4f}" in page
    assert metrics["protocol_digest"] in page


def test_two_runs_write_the_same_figures_and_digest(report, inputs, tmp_path):
    run(CONFIG, inputs, {"report": tmp_path}, Context(work=tmp_path, device="cpu"))
    for name in ("metrics.json", "per_frame.csv", "per_clip.parquet"):
        assert (tmp_path / name).read_bytes() == (report / name).read_bytes()
    assert read_provenance(tmp_path)["digest"] == read_provenance(report)["digest"]


def test_provenance_names_inputs_by_digest(report, inputs):
    record = read_provenance(report, format="moso.report", version=1)
    assert record["inputs"] == {name: read_provenance(folder)["digest"] for name, folder in inputs.items()}


def test_validation_split_is_a_setting_and_another_protocol(inputs, metrics, tmp_path):
    config = Config(data_set="squares", protocol={"split": "validation"}, min_clips=4, min_episodes=2, resamples=200)
    run(config, inputs, {"report": tmp_path}, Context(work=tmp_path, device="cpu"))
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["protocol"]["split"] == "validation"
    assert found["protocol_digest"] != metrics["protocol_digest"]


def test_too_few_clips_are_refused_and_nothing_is_written(inputs, tmp_path):
    target = tmp_path / "report"
    with pytest.raises(DataError, match="asks for at least 256 from 128"):
        run(Config(data_set="squares"), inputs, {"report": target}, Context(work=tmp_path, device="cpu"))
    assert not target.exists()


def test_tokens_of_another_codebook_are_refused(inputs, tmp_path):
    tokens = shutil.copytree(inputs["tokens"], tmp_path / "tokens")
    codebook = np.load(tokens / "codebook.npy", allow_pickle=False)
    np.save(tokens / "codebook.npy", codebook + 1, allow_pickle=False)
    with pytest.raises((MismatchError, DataError)):
        run(CONFIG, {**inputs, "tokens": tokens}, {"report": tmp_path / "r"}, Context(work=tmp_path, device="cpu"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"protocol": {"split": "train"}}, "the model was trained on it"),
        ({"protocol": {"videos": 4}, "min_clips": 8}, "must not be below min_clips = 8"),
        ({"protocol": {"video": 4}}, "did you mean 'videos'"),
        ({"protocol": "kth/65"}, "did you mean 'kth/64'"),
        ({"resamples": 10}, "at least 100"),
        ({"batch": 0}, "at least 1"),
        ({"protocoll": "kth/64"}, "did you mean 'protocol'"),
        ({"sampling": {"steps": 0}}, "evaluate.sampling.steps"),
    ],
)
def test_settings_that_break_a_rule_are_refused(values, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        build(Config, {"data_set": "squares", **values}, "evaluate")
