"""The last task of a retraining on Kubeflow: the lock and the message, whatever happened before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moso.retraining.lease import FolderPlace, LeaseHeld, take
from pipelines.retraining_tasks import measure, tell

RUN = "run-7/a"


def _told(state: Path, **content: str) -> None:
    (state / "told").mkdir(parents=True)
    (state / "told" / "run-7_a.json").write_text(json.dumps(content))


def test_a_result_is_told_and_the_lock_is_free(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take(FolderPlace(tmp_path), 600.0, owner=RUN)
    _told(tmp_path, outcome="promoted", text="moso-d: promoted")
    tell({}, RUN, str(tmp_path), "SUCCEEDED")
    assert "retraining: moso-d: promoted" in capsys.readouterr().out
    take(FolderPlace(tmp_path), 600.0, owner="another")


def test_a_run_without_a_result_is_told_with_its_state_and_the_lock_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(FolderPlace(tmp_path), 600.0, owner=RUN)
    tell({}, RUN, str(tmp_path), "FAILED")
    assert "did not come to a result (FAILED); the next goes on" in capsys.readouterr().out
    take(FolderPlace(tmp_path), 600.0, owner="another")


def test_nothing_new_is_no_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take(FolderPlace(tmp_path), 600.0, owner=RUN)
    _told(tmp_path, outcome="nothing new", text="nothing new: 0 new episodes")
    tell({}, RUN, str(tmp_path), "SUCCEEDED")
    assert "retraining:" not in capsys.readouterr().out


def test_the_lock_of_another_run_is_left_alone(tmp_path: Path) -> None:
    take(FolderPlace(tmp_path), 600.0, owner="another")
    tell({}, RUN, str(tmp_path), "FAILED")
    with pytest.raises(LeaseHeld, match="held by another"):
        take(FolderPlace(tmp_path), 600.0, owner=RUN)


def test_a_task_of_a_run_that_lost_the_lock_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(FolderPlace(tmp_path), 600.0, owner="another")
    (tmp_path / "news.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        measure({}, "test", RUN, str(tmp_path), {"news": str(tmp_path / "news.json")}, {})
    assert ended.value.code == 1
    assert (
        capsys.readouterr().err
        == f"drift: {tmp_path / 'retraining.lock.json'}: {RUN} does not have the lock any more\n"
    )
