"""The closing lines of `make repro`: true about this run's model, and their commands run as they stand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.repro import stages_run, where_to_look

BIN = Path(sys.executable).parent


def a_run(root: Path, outcome: str, champion: int | None, reasons: tuple[str, ...] = ()) -> Path:
    reports = root / "reports"
    reports.mkdir()
    figures = {"prediction": {"psnr": 21.5, "ssim": 0.8}, "reconstruction": {"psnr": 30.25, "ssim": 0.9}}
    (reports / "metrics.json").write_text(json.dumps(figures))
    (reports / "table.md").write_text("### Toy\n\n| method | PSNR |\n|---|---|\n| this run | 21.5 |\n")
    record = {
        "model": "moso-toy",
        "version": 7,
        "reference": "models:/moso-toy@champion",
        "alias": "champion",
        "champion": None if champion is None else {"version": champion},
        "decision": {"outcome": outcome, "reasons": reasons},
    }
    (reports / "promotion.json").write_text(json.dumps(record))
    return root


@pytest.mark.parametrize(("outcome", "champion"), [("promoted", None), ("promoted", 3), ("already_champion", 7)])
def test_a_champion_is_loaded_by_its_alias(tmp_path, outcome, champion):
    text = where_to_look(a_run(tmp_path, outcome, champion), "toy")
    assert 'load_model("models:/moso-toy@champion")' in text
    assert "This run's model is the champion: models:/moso-toy/7" in text


@pytest.mark.parametrize(
    ("outcome", "champion", "who"),
    [("kept", 3, "that is version 3"), ("refused", 3, "that is version 3"), ("refused", None, "there is none")],
)
def test_a_model_that_is_not_the_champion_is_loaded_by_its_version_and_the_reasons_are_said(
    tmp_path, outcome, champion, who
):
    text = where_to_look(a_run(tmp_path, outcome, champion, ("worse", "candidate 1, champion 2")), "toy")
    assert 'load_model("models:/moso-toy/7")' in text
    assert "@champion" not in text
    assert f"models:/moso-toy/7, is not the champion ({who}). {outcome}:" in text
    assert "  - worse\n  - candidate 1, champion 2\n" in text


def test_the_run_ends_in_the_benchmark_s_table_and_its_ceiling(tmp_path):
    text = where_to_look(a_run(tmp_path, "promoted", None), "toy")
    assert text.startswith("### Toy\n\n| method | PSNR |")
    assert "The ceiling, the true frames through Stage I: psnr 30.25, ssim 0.9" in text


def test_commands_need_no_activated_environment(tmp_path):
    text = where_to_look(a_run(tmp_path, "promoted", None), "toy")
    assert f"{BIN / 'mlflow'} ui --backend-store-uri" in text
    command = f"{BIN / 'dvc'} --cd {tmp_path} metrics show"
    assert command in text
    (tmp_path / "dvc.yaml").write_text("metrics: [reports/metrics.json]\n")
    subprocess.run([str(BIN / "dvc"), "--cd", str(tmp_path), "init", "-q", "--no-scm"], check=True)
    shown = subprocess.run(command.split(), cwd="/", env={}, check=True, capture_output=True, text=True).stdout
    assert "21.5" in shown


def test_the_stages_run_are_those_whose_lock_entry_differs():
    before = {"ingest": {"cmd": "a"}, "promote": {"cmd": "b"}}
    assert stages_run(before, {**before, "promote": {"cmd": "c"}, "evaluate": {}}) == ["evaluate", "promote"]
