import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from moso.errors import CheckpointError
from moso.training.work import WorkFolder, run_identity, work_key

HERE = Path(__file__)


def lock(work, **owner):
    work.folder.mkdir(parents=True, exist_ok=True)
    (work.folder / "lock.json").write_text(json.dumps({"host": socket.gethostname(), "start": None, **owner}))


def test_the_key_depends_on_step_config_and_inputs():
    keys = {
        work_key(run_identity(step, {"seed": seed}, {"frames": digest}, code=HERE))
        for step in ("train_vqvae", "extract_tokens")
        for seed in (0, 1)
        for digest in ("a", "b")
    }
    assert len(keys) == 8
    assert work_key(run_identity("a", {}, {"x": "1", "y": "2"}, code=HERE)) == work_key(
        run_identity("a", {}, {"y": "2", "x": "1"}, code=HERE)
    )


def test_an_edit_of_the_steps_own_module_changes_the_key(tmp_path):
    module = tmp_path / "step.py"
    keys = []
    for text in ("rate = 1\n", "rate = 2\n", "rate = 1\n"):
        module.write_text(text)
        keys.append(work_key(run_identity("a", {}, {}, code=module)))
    assert keys[0] == keys[2] != keys[1]


def test_a_folder_held_by_a_live_process_names_its_owner(tmp_path):
    with WorkFolder(tmp_path, "k"), pytest.raises(CheckpointError, match=f"process {os.getpid()} on"):
        WorkFolder(tmp_path, "k").__enter__()
    with WorkFolder(tmp_path, "k"):
        pass


def test_the_holder_may_hold_it_again(tmp_path):
    work = WorkFolder(tmp_path, "k")
    with work:
        with work:
            pass
        with pytest.raises(CheckpointError):
            WorkFolder(tmp_path, "k").__enter__()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    work = WorkFolder(tmp_path, "k")
    lock(work, pid=ended.pid)
    with work:
        assert json.loads((work.folder / "lock.json").read_text())["pid"] == os.getpid()
    assert not (work.folder / "lock.json").exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the start time of processes is read from /proc")
def test_the_lock_of_a_process_whose_number_was_given_again_is_taken_over(tmp_path):
    work = WorkFolder(tmp_path, "k")
    lock(work, pid=os.getpid(), start="another boot:123")
    with work:
        pass


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="zombies are told from live processes by /proc")
def test_a_zombie_holds_nothing(tmp_path):
    script = (
        "import sys, pathlib; from moso.training.work import WorkFolder;"
        "WorkFolder(pathlib.Path(sys.argv[1]), 'k').__enter__(); import os; os._exit(0)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet waited for
    assert json.loads((tmp_path / "k" / "lock.json").read_text())["pid"] == owner.pid
    with WorkFolder(tmp_path, "k"):
        pass
    owner.wait()


def test_an_owner_on_another_machine_is_believed(tmp_path):
    work = WorkFolder(tmp_path, "k")
    lock(work, pid=1, host="elsewhere")
    with pytest.raises(CheckpointError, match=r"elsewhere.*delete .*lock\.json"):
        work.__enter__()


def test_discard_removes_the_folder(tmp_path):
    with WorkFolder(tmp_path, "k") as work:
        work.checkpoints.mkdir()
        work.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_took_after_discard_stays_its(tmp_path):
    first, second = WorkFolder(tmp_path, "k"), WorkFolder(tmp_path, "k")
    with first:
        first.discard()
        second.__enter__()
    assert (second.folder / "lock.json").exists()  # first has left; it must not have let go for the other
    with pytest.raises(CheckpointError, match="is held by process"):
        WorkFolder(tmp_path, "k").__enter__()
    second.__exit__(None, None, None)
    assert not (second.folder / "lock.json").exists()
